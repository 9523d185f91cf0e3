"""Offline: videos to frames to lists of clips."""
