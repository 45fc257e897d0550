"""Files, cache folders, terminal output and progress bars."""
