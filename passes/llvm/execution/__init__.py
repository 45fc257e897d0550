"""One run of a measured program: started with limits, ended with all that it started, and what it left to compare."""
