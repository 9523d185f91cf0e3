"""Crops and mirrors of whole clips, on uint8: pixels that the network does not see are cut off before any resizing or conversion."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as TF


class RandomCrop:
    """A random square, the same in every frame of a clip.

    Its side is uniform between `min_scale` and 1 times the short side; its place is uniform. Cropping has two steps, so that each frame
    can be cut as it is decoded and the whole clip be resized at once.
    """

    def __init__(self, size: int, min_scale: float, rng: np.random.Generator) -> None:
        self.size, self.min_scale, self.rng = size, min_scale, rng
        self.box: tuple[slice, slice] | None = None  # drawn when the first frame comes, since it depends on the size

    def cut(self, frames: Tensor) -> Tensor:
        """Cut (..., 3, H, W) to (..., 3, side, side), a view."""
        if self.box is None:
            H, W = frames.shape[-2:]
            side = max(1, round(min(H, W) * self.rng.uniform(self.min_scale, 1.0)))
            top, left = int(self.rng.integers(H - side + 1)), int(self.rng.integers(W - side + 1))
            self.box = slice(top, top + side), slice(left, left + side)
        return frames[(..., *self.box)]

    def resize(self, frames: Tensor) -> Tensor:
        """Resize (..., 3, side, side) to (..., 3, size, size)."""
        return _resized(frames, self.size, self.size)


def centre_crop(frames: Tensor, size: int, short_side: int) -> Tensor:
    """Resize the short side to `short_side`, then take the central square: (T, 3, H, W) -> (T, 3, size, size)."""
    frames = scale_short_side(frames, short_side)
    top, left = (frames.shape[-2] - size) // 2, (frames.shape[-1] - size) // 2
    return frames[..., top : top + size, left : left + size]


def scale_short_side(frames: Tensor, short_side: int) -> Tensor:
    """Resize (..., 3, H, W) so that its shorter side is `short_side`; the aspect ratio is kept."""
    H, W = frames.shape[-2:]
    scale = short_side / min(H, W)
    return _resized(frames, round(H * scale), round(W * scale))


def mirror(frames: Tensor) -> Tensor:
    """Swap left and right. Some labels must be swapped too: `data.hflip_swaps`."""
    return frames.flip(-1)


def _resized(frames: Tensor, height: int, width: int) -> Tensor:
    if frames.shape[-2:] == (height, width):
        return frames
    return TF.resize(frames, [height, width], antialias=True)
