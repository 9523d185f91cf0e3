"""Online: from a list of clips to batches."""
