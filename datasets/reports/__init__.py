"""Records to look at: figures, plots, cards and pages."""
