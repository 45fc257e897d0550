"""Models and operators that are tuned, collected and timed."""
