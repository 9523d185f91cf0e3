"""Crops and mirrors of whole clips, on uint8: what is not seen is cut off before anything is resized or made float."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as TF


class RandomCrop:
    """A random square, the same in every frame of a clip.

    Its side is uniform between `min_scale` and 1 of the short side, its place uniform. In two steps, so that each frame can be cut as
    it is decoded and the clip then be resized at once.
    """

    def __init__(self, size: int, min_scale: float, rng: np.random.Generator) -> None:
        self.size, self.min_scale, self.rng = size, min_scale, rng
        self.box: tuple[slice, slice] | None = None  # drawn with the first frame, whose size it depends on

    def cut(self, frames: Tensor) -> Tensor:
        """(..., 3, H, W) -> (..., 3, side, side), a view."""
        if self.box is None:
            H, W = frames.shape[-2:]
            side = max(1, round(min(H, W) * self.rng.uniform(self.min_scale, 1.0)))
            top, left = int(self.rng.integers(H - side + 1)), int(self.rng.integers(W - side + 1))
            self.box = slice(top, top + side), slice(left, left + side)
        return frames[(..., *self.box)]

    def resize(self, frames: Tensor) -> Tensor:
        """(..., 3, side, side) -> (..., 3, size, size)"""
        return _resized(frames, self.size, self.size)


def random_crop(frames: Tensor, size: int, min_scale: float, rng: np.random.Generator) -> Tensor:
    """RandomCrop of a whole clip: (T, 3, H, W) -> (T, 3, size, size)."""
    crop = RandomCrop(size, min_scale, rng)
    return crop.resize(crop.cut(frames))


def centre_crop(frames: Tensor, size: int, short_side: int) -> Tensor:
    """The short side resized to `short_side`, then the central size x size: (T, 3, H, W) -> (T, 3, size, size)."""
    frames = scale_short_side(frames, short_side)
    top, left = (frames.shape[-2] - size) // 2, (frames.shape[-1] - size) // 2
    return frames[..., top : top + size, left : left + size]


def scale_short_side(frames: Tensor, short_side: int) -> Tensor:
    """(..., 3, H, W) -> the same with its shorter side resized to `short_side`, its shape kept."""
    H, W = frames.shape[-2:]
    scale = short_side / min(H, W)
    return _resized(frames, round(H * scale), round(W * scale))


def mirror(frames: Tensor) -> Tensor:
    """Left and right swapped. The label may have to be swapped with them: `data.hflip_swaps`."""
    return frames.flip(-1)


def _resized(frames: Tensor, height: int, width: int) -> Tensor:
    if frames.shape[-2:] == (height, width):
        return frames
    return TF.resize(frames, [height, width], antialias=True)
