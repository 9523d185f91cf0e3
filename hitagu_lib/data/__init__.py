"""From video files to clips: extraction, lists, sampling, decoding, transforms, datasets."""
