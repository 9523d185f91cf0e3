"""Crops and mirrors of whole clips, on uint8: what is not seen is cut off before anything is resized or made float."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as TF


def random_crop(frames: Tensor, size: int, min_scale: float, rng: np.random.Generator) -> Tensor:
    """A random square, the same in every frame: (T, 3, H, W) -> (T, 3, size, size).

    Its side is uniform between `min_scale` and 1 of the short side, its place uniform.
    """
    H, W = frames.shape[-2:]
    side = max(1, round(min(H, W) * rng.uniform(min_scale, 1.0)))
    top, left = int(rng.integers(H - side + 1)), int(rng.integers(W - side + 1))
    return _resized(frames[..., top : top + side, left : left + side], size, size)


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
