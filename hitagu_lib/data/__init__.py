"""Online: a list of clips to batches."""
