"""Video and picture files: ffmpeg, frame folders."""
