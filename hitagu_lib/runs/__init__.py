"""A run's folder: parameters, checkpoints, provenance."""
