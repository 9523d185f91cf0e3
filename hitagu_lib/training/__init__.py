"""Training: the loop, one step, several processes, signals."""
