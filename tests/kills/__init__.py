"""`kill -9` of what stores something, at random moments: what the next start makes of it."""
