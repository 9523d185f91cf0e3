"""JPEG files -> uint8 tensor, and uint8 -> the normalised floats that a network sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from hitagu_lib.errors import ClipError

# ImageNet's channel means and deviations, which torchvision's weights expect (RGB, in units of 255).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_frames(
    folder: Path, indices: Sequence[int], change: Callable[[Tensor], Tensor] = lambda frame: frame
) -> Tensor:
    """The frames `indices` (from 0) of a frame folder: uint8 (T, 3, H, W). A frame asked for twice is decoded once.

    `change` is applied to each frame (3, H, W) as it is decoded: resized there, many large frames need little memory.
    Raises ClipError naming the file that is missing, damaged, or of another size than the rest.
    """
    decoded: dict[int, Tensor] = {}
    first, expected = -1, ""
    for i in sorted(set(map(int, indices))):
        frame = _read_frame(folder / f"{i + 1:06d}.jpg")
        if not decoded:
            first, expected = i, _size(frame)
        if _size(frame) != expected:
            raise ClipError(
                f"{folder / f'{i + 1:06d}.jpg'}: found {_size(frame)}; expected {expected} as frame {first + 1:06d}"
            )
        decoded[i] = change(frame)
    return stacked([decoded[int(i)] for i in indices])


def stacked(frames: Sequence[Tensor]) -> Tensor:
    """Frames (3, H, W) -> (T, 3, H, W), channels last in memory: as decoders write pixels, and as torch's fast uint8 resize wants them."""
    return torch.stack([frame.permute(1, 2, 0) for frame in frames]).permute(0, 3, 1, 2)


def _read_frame(file: Path) -> Tensor:
    try:
        return decode_jpeg(read_file(str(file)), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        if not file.exists():
            if file.parent.is_file():
                raise ClipError(f"{file.parent}: found a file; expected a frame folder, or data.source=video") from None
            there = sum(1 for _ in file.parent.glob("*.jpg")) if file.parent.is_dir() else None
            found = "no such folder" if there is None else f"a folder of {there} frames"
            raise ClipError(f"{file}: missing; found {found}; expected the frame that the list promises") from None
        raise ClipError(
            f"{file}: found {file.stat().st_size} bytes that are no whole JPEG; extract it again"
        ) from error


def _size(frame: Tensor) -> str:
    return f"{frame.shape[2]}x{frame.shape[1]}"


def normalise(frames: Tensor) -> Tensor:
    """uint8 (..., 3, H, W) -> float32 of the same shape, by ImageNet's mean and deviation; on the device the frames are on."""
    scale = 255 * frames.new_tensor(STD, dtype=torch.float32)[:, None, None]
    shift = 255 * frames.new_tensor(MEAN, dtype=torch.float32)[:, None, None]
    return (frames - shift) / scale
