"""What every tuner shares: budgets, trials and comparisons in pairs."""
