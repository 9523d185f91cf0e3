"""Use a trained network: prediction, streaming, export."""
