"""Does a map point at what the network uses? Delete what the map ranks highest, and watch the score fall.

    clip, map --delete the first share of cells (or frames) by the map's ranking--> probability of the class --> curve over shares --> area

The deletion curve is that of RISE (Petsiuk et al. 2018). A faithful map has a smaller area than a map that knows nothing: the same map
moved to a random place, which deletes as much and in the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hitagu_lib.evaluation.metrics import LEVEL, RESAMPLES, interval
from hitagu_lib.models import ClipModel


def _blurred(x: Tensor) -> Tensor:
    """Return each frame's mean over squares of a third of its side."""
    reach = x.shape[-1] // 6
    frames = F.pad(x.flatten(0, 1), [reach] * 4, mode="replicate")
    return F.avg_pool2d(frames, 2 * reach + 1, stride=1).unflatten(0, x.shape[:2])


PAINTS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean colour": lambda x: x.mean((1, 3, 4), keepdim=True).expand_as(x),
    "blurred": _blurred,
    "still": lambda x: x.median(1, keepdim=True).values.expand_as(x),
    "frame before": lambda x: torch.cat([x[:, :1], x[:, :-1]], 1),
}
"""What deleted cells show: the clip's mean colour; the frame out of focus; each pixel's median over the clip, which leaves out what passes
by; or the frame before. x (B, T, 3, H, W) -> the same shape."""


def ranking(maps: Tensor) -> Tensor:
    """maps (B, ...) -> the indices of each clip's entries from the highest to the lowest, (B, N); ties stay in order."""
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True)


def delete_cells(x: Tensor, maps: Tensor, share: float, paint: str = "mean colour") -> Tensor:
    """Paint over the `share` of cells that `maps` (B, T, h, w) ranks highest, with one of PAINTS. x, result: (B, T, 3, H, W).

    A cell is one position of the map in one frame; all frames of a clip are ranked together.
    """
    order = ranking(maps)
    first = order[:, : round(share * order.shape[1])]
    mask = torch.zeros(order.shape, device=x.device).scatter_(1, first, 1.0).reshape(maps.shape)
    mask = F.interpolate(mask, size=x.shape[-2:], mode="nearest")  # (B, T, H, W)
    return torch.where(mask[:, :, None] > 0, PAINTS[paint](x), x)


def delete_frames(x: Tensor, t: Tensor, weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Take out the `count` frames of each clip that `weights` (B, T) rank highest; the rest keep their order and their times.

    x (B, T, 3, H, W), t (B, T) -> (B, T - count, 3, H, W), (B, T - count).
    """
    kept = ranking(weights)[:, count:].sort(dim=1).values
    clips = torch.arange(len(x), device=x.device)[:, None]
    return x[clips, kept], t[clips, kept]


@torch.no_grad()
def cell_curve(
    model: ClipModel,
    x: Tensor,
    t: Tensor,
    classes: Tensor,
    maps: Tensor,
    shares: Sequence[float],
    paint: str = "mean colour",
) -> Tensor:
    """Return the probability of each clip's class after the deletion of each share of cells: (B, S); paint: one of PAINTS."""
    curve = [_probability(model, delete_cells(x, maps, share, paint), t, classes) for share in shares]
    return torch.stack(curve, dim=1)


@torch.no_grad()
def frame_curve(model: ClipModel, x: Tensor, t: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Return the probability of each clip's class after the deletion of 0, 1, ..., T - 1 frames: (B, T)."""
    T = t.shape[1]
    curve = [_probability(model, *delete_frames(x, t, weights, count), classes) for count in range(T)]
    return torch.stack(curve, dim=1)


def _probability(model: ClipModel, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
    logits = model(x, t)
    assert isinstance(logits, Tensor)
    return logits.float().softmax(1).gather(1, classes[:, None])[:, 0]


def moved(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return each clip's map (B, ...) moved to a random place, around the edges: the same values, shapes and number of cells."""
    dims = tuple(range(maps.ndim - 1))
    shifts = [[int(torch.randint(size, (1,), generator=generator)) for size in maps.shape[1:]] for _ in maps]
    return torch.stack([clip.roll(shift, dims) for clip, shift in zip(maps, shifts, strict=True)])


def of_another_clip(maps: Tensor) -> Tensor:
    """Return for each clip the map of another one, about half of the batch away: maps (B, ...) in another order, B of 2 or more."""
    return maps.roll((len(maps) // 2 + 3) % len(maps) or 1, 0)


def random_like(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Return maps of the same shape that rank all entries at random."""
    return torch.rand(maps.shape, generator=generator).to(maps.device)


def areas(curves: Tensor, shares: Sequence[float]) -> Tensor:
    """Return the area under each curve (B, S) over its shares, divided by their range: the mean score, (B,); of one share, its score."""
    if len(shares) == 1:
        return curves[:, 0]
    x = torch.as_tensor(shares, dtype=curves.dtype, device=curves.device)
    return torch.trapezoid(curves, x, dim=1) / (x[-1] - x[0])


def against_random(by_map: Tensor, by_chance: Tensor, seed: int = 0) -> dict[str, Any]:
    """Compare the areas (B,) of a map's curves with those of random deletions of the same clips.

    "difference": random minus map, mean over clips; above 0, the map finds what the network uses sooner than chance does. Its interval is
    from a bootstrap over clips. "verdict": "better" or "worse" if all of the interval is above or below 0, else "open".
    """
    differences = (by_chance - by_map).double().cpu().numpy()
    drawn = np.random.default_rng(seed).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = interval(differences[drawn].mean(1))
    return {
        "clips": len(differences),
        "area": float(by_map.mean()),
        "random": float(by_chance.mean()),
        "difference": float(differences.mean()),
        "interval": [low, high],
        "level": LEVEL,
        "verdict": "better" if low > 0 else "worse" if high < 0 else "open",
    }
