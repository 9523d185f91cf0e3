"""A trained network at work: prediction, streaming, export."""
