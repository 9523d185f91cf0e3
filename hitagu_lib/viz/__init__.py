"""Figures and live displays that chapters and runs draw with."""
