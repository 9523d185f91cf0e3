"""Video files through ffmpeg, and folders of frames."""
