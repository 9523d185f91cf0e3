"""JPEG files -> uint8 tensor, and uint8 -> the normalised floats that a network sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from hitagu_lib.errors import ClipError
from hitagu_lib.media.frame_folder import FRAME_NAME

# ImageNet's channel means and deviations, which torchvision's weights expect (RGB, in units of 255).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_OTHER_KINDS = {b"\x89PNG": "a PNG", b"RIFF": "a WebP", b"GIF8": "a GIF", b"version": "a Git LFS pointer"}
"""What people name .jpg, by its first bytes."""

NO_BYTES = "found 0 bytes, expected a JPEG; extract it again"


def read_frames(
    folder: Path, indices: Sequence[int], change: Callable[[Tensor], Tensor] = lambda frame: frame
) -> Tensor:
    """Read the frames `indices` (from 0) of a frame folder: uint8 (T, 3, H, W). A frame asked for twice is decoded once.

    `change` is applied to each frame (3, H, W) as soon as it is decoded, so that resizing many large frames needs little memory.
    Raises ClipError naming the file that is missing, unreadable, damaged, or of another size than the rest.
    """
    decoded: dict[int, Tensor] = {}
    first, expected = -1, ""
    for i in sorted(set(map(int, indices))):
        file = folder / FRAME_NAME.format(i + 1)
        frame = read_frame(file)
        if not decoded:
            first, expected = i, frame_size(frame)
        if frame_size(frame) != expected:
            raise ClipError(f"{file}: found {frame_size(frame)}; expected {expected} as frame {first + 1:06d}")
        decoded[i] = change(frame)
    return stacked([decoded[int(i)] for i in indices])


def stacked(frames: Sequence[Tensor]) -> Tensor:
    """Stack frames (3, H, W) to (T, 3, H, W), channels last in memory: so decoders write, and torch's fast uint8 resize reads."""
    return torch.stack([frame.permute(1, 2, 0) for frame in frames]).permute(0, 3, 1, 2)


def read_frame(file: Path) -> Tensor:
    """Decode one JPEG, upright by its EXIF orientation: uint8 (3, H, W). Raises ClipError saying why it cannot be read."""
    try:
        data = bytearray(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(file) from None
    except OSError as error:
        raise cannot_read(file, error) from error
    if not data:
        raise ClipError(f"{file}: {NO_BYTES}")
    try:
        jpeg = torch.frombuffer(data, dtype=torch.uint8)
        return decode_jpeg(jpeg, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    except RuntimeError as error:
        kind = next((kind for begin, kind in _OTHER_KINDS.items() if data.startswith(begin)), None)
        # libjpeg's words come after the place in torchvision's source.
        reason = f"found {kind}, expected a JPEG" if kind else str(error).splitlines()[0].rpartition(", ")[2]
        raise ClipError(
            f"{file}: cannot be decoded: {reason} (the file has {len(data)} bytes); extract it again"
        ) from error


def _missing(file: Path) -> ClipError:
    """Return the ClipError for a frame that is not there; it says what is there."""
    folder = file.parent
    if folder.is_file():
        return ClipError(f"{folder}: found a file; expected a frame folder, or data.source=video")
    found = f"a folder of {sum(1 for _ in folder.glob('*.jpg'))} frames" if folder.is_dir() else "no such folder"
    return ClipError(f"{file}: missing; found {found}; expected the frame that the list promises")


def cannot_read(file: Path, error: OSError) -> ClipError:
    """Return the ClipError for a file that the system refuses to open or to read."""
    advice = "; give this user permission to read it" if isinstance(error, PermissionError) else ""
    return ClipError(f"{file}: cannot be read: {error.strerror or error}{advice}")


def frame_size(frame: Tensor) -> str:
    """Return the size of a frame (3, H, W) as "WxH"."""
    return f"{frame.shape[2]}x{frame.shape[1]}"


def normalise(frames: Tensor) -> Tensor:
    """Normalise uint8 (..., 3, H, W) by ImageNet's mean and deviation: float32 of the same shape, on the same device."""
    scale = 255 * frames.new_tensor(STD, dtype=torch.float32)[:, None, None]
    shift = 255 * frames.new_tensor(MEAN, dtype=torch.float32)[:, None, None]
    return (frames - shift) / scale
