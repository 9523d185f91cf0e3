"""Grids of trainings that a chapter reports: `python -m experiments.compare`, from the repository's root."""
