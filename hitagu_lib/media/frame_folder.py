"""Frame folders: <clip>/000001.jpg, 000002.jpg, ... without gaps."""

from __future__ import annotations

import os
import re
from pathlib import Path

FRAME_NAME = "{:06d}.jpg"
IS_FRAME = re.compile(r"[0-9]{6,}\.jpg")  # the millionth frame has seven digits

LITTER = {"Thumbs.db", "desktop.ini"}
"""Files that Windows leaves in folders of pictures."""


def count_frames(folder: Path) -> tuple[int, str | None]:
    """Return the number of frames in a folder, and what is wrong with it unless it holds exactly 000001.jpg to N."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".") and name not in LITTER]
    except FileNotFoundError:
        return 0, "no such folder"
    except OSError as error:
        return 0, f"cannot be listed: {error.strerror}"
    if not names:
        return 0, "an empty folder, expected frames from 000001.jpg"
    for number, name in enumerate(sorted(names, key=lambda name: (len(name), name)), start=1):
        expected = FRAME_NAME.format(number)
        if name != expected:
            found = f"{expected} is missing" if IS_FRAME.fullmatch(name) else f"found {name!r}"
            return number - 1, f"{found}, expected 000001.jpg, 000002.jpg ... without gaps and nothing else"
    return len(names), None
