"""The look of the synthetic videos: shapes, colours and textured worlds.

All random numbers come from `rng.random()`, whose bits do not change between NumPy versions. They pass only through +, -, *,
/, square roots and rounding, which give the same result on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hitagu_lib.prepare.synthetic.raster import Colour, Pixels, blend, smooth_field, stretch, stripes

Floats = NDArray[np.float64]
T = TypeVar("T")

MIN_CONTRAST = 50
"""The smallest difference in luma (0..255) between an object's body and the mean of the world behind it."""

BODIES: tuple[Colour, ...] = (
    *((225, 40, 40), (40, 90, 230), (40, 165, 70), (220, 50, 190)),  # of medium brightness
    *((255, 165, 60), (250, 220, 50), (245, 245, 240), (110, 235, 240), (255, 190, 205), (170, 240, 70)),  # light
    *((25, 25, 28), (26, 35, 110), (130, 15, 25), (10, 85, 40), (75, 20, 120), (90, 45, 15)),  # dark
)


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.random() * len(choices))]


def heading(rng: np.random.Generator, spread: float = 1.0) -> tuple[float, float]:
    """Draw a direction (x, y) of length 1; `spread` < 1 keeps it near +x or -x: |y| <= spread * |x|."""
    while True:
        x, y = uniform(rng, -1, 1), uniform(rng, -1, 1)
        if 0.01 < x * x + y * y <= 1 and (spread >= 1 or abs(y) <= spread * abs(x)):
            length = float(np.sqrt(x * x + y * y))  # correctly rounded by IEEE 754
            return x / length, y / length


def _round_polygon(points: int, radii: Sequence[float] = (1.0,), squeeze: float = 1.0) -> Floats:
    """Return corners on circles of alternating radii, rounded to 1/1024 so that platforms' cosines do not differ."""
    turn = np.arange(points) * (2 * np.pi / points)
    radius = np.resize(np.asarray(radii), points)
    corners = np.stack([np.sin(turn) * radius, -np.cos(turn) * radius * squeeze], axis=1)
    return np.rint(corners * 1024) / 1024


def _corners(*pairs: tuple[float, float]) -> Floats:
    return np.array(pairs, dtype=np.float64)


CIRCLE = _round_polygon(24)
SQUARE = _corners((-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7))
HEXAGON = _round_polygon(6)
BLUNT: tuple[Floats, ...] = (CIRCLE, SQUARE, HEXAGON, _round_polygon(24, squeeze=0.85), _round_polygon(8))
"""Shapes that contain a circle of 0.7 times their radius, and so can cover something."""
SHAPES: tuple[Floats, ...] = (
    *BLUNT,
    _round_polygon(3),
    _round_polygon(5),
    _round_polygon(10, (1.0, 0.5)),  # stars
    _round_polygon(8, (1.0, 0.6)),
    _round_polygon(24, squeeze=0.65),  # ellipse
    _corners(  # cross
        *((-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3)),
        *((0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.3, -0.3)),
    ),
    _corners((0, -1), (0.8, -0.25), (0.6, -0.25), (0.6, 0.8), (-0.6, 0.8), (-0.6, -0.25), (-0.8, -0.25)),  # house
)
COMPACT: tuple[Floats, ...] = (*BLUNT, _round_polygon(5))
"""Shapes that remain visible when small."""
LOPSIDED: tuple[Floats, ...] = (
    _corners((0, -1), (0.75, -0.1), (0.3, -0.1), (0.3, 0.9), (-0.3, 0.9), (-0.3, -0.1), (-0.75, -0.1)),  # arrow
    _corners((-0.55, -0.8), (0, -0.8), (0, 0.3), (0.75, 0.3), (0.75, 0.8), (-0.55, 0.8)),  # letter L
    _corners((0, -1), (0.62, 0.45), (0.35, 0.85), (-0.35, 0.85), (-0.62, 0.45)),  # drop
    _corners((-0.45, -0.89), (0.7, -0.6), (0.7, 0.0), (-0.1, 0.1), (-0.1, 0.9), (-0.45, 0.9)),  # flag
    CIRCLE,
    _round_polygon(24, squeeze=0.7),
    SQUARE,
)
"""Shapes for spinning. With one half in another colour, none looks the same again before a full turn."""
STRIPE = _corners((-1.1, -0.2), (1.1, -0.2), (1.1, 0.2), (-1.1, 0.2))
HALF = _corners((-1.1, -1.1), (1.1, -1.1), (1.1, 0), (-1.1, 0))
DOT = CIRCLE * 0.35
SPOT = DOT + np.array([0.0, 0.4])
"""A dot off the centre, in the half that HALF leaves free."""


def luma(colour: Sequence[float]) -> float:
    """Return the brightness as video encodes it (ITU-R BT.601), 0..255."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def shade(colour: Colour, towards: int, percent: int) -> Colour:
    red, green, blue = (c + (towards - c) * percent // 100 for c in colour)
    return red, green, blue


def draw_world(rng: np.random.Generator, height: int, width: int, unit: float) -> tuple[Pixels, Colour]:
    """Draw a textured ground, (height, width, 3) uint8, and return it with its mean colour.

    Besides its pattern, each ground has noise and patches, so that camera motion is visible in every direction. `unit`: the
    scale of all lengths, 1 for frames of 72 x 72.
    """
    level = int(uniform(rng, 70, 185))
    base = tuple(level + int(uniform(rng, -28, 28)) for _ in range(3))
    coarse, middle, fine = (max(2, round(cell * unit)) for cell in (28, 12, 6))
    field = stretch(
        smooth_field(rng, height, width, coarse) * 4
        + smooth_field(rng, height, width, middle) * 3
        + smooth_field(rng, height, width, fine) * 2
    )
    style = pick(rng, ("noise", "noise", "stripes", "checks"))
    if style != "noise":
        across, down = (int(16 * c) for c in heading(rng))
        period = max(6, round(uniform(rng, 11, 20) * unit))
        pattern = stripes(height, width, across, down, period)
        if style == "checks":
            pattern = np.abs(pattern - stripes(height, width, -down, across, period))
        field = stretch(field * 6 + pattern * 4)
    swing = int(uniform(rng, 19, 28))
    dark, light = (np.array([c + sign * swing for c in base]) for sign in (-1, 1))
    ground = blend(np.broadcast_to(dark, (height, width, 3)), light, field)
    # Patches with sharp edges, like islands and lakes on a map, serve as landmarks.
    level_lines = stretch(smooth_field(rng, height, width, max(2, round(18 * unit))))
    sign = pick(rng, (-1, 1))
    for depth, side in ((level_lines - 165, sign), (80 - level_lines, -sign)):
        tint = np.array([c + side * 22 + int(uniform(rng, -16, 16)) for c in base])
        ground = blend(ground, tint, np.clip(depth * 12, 0, 190))
    world = np.clip(ground, 0, 255).astype(np.uint8)
    mean = world.reshape(-1, 3).sum(axis=0, dtype=np.int64) // (height * width)
    return world, (int(mean[0]), int(mean[1]), int(mean[2]))


def draw_colour(rng: np.random.Generator, ground: Colour, taken: Sequence[Colour]) -> Colour:
    """Draw a body colour that differs from the ground by MIN_CONTRAST in luma, and if possible from the colours `taken`."""

    fit = [c for c in BODIES if abs(luma(c) - luma(ground)) >= MIN_CONTRAST + 10 and _apart(c, ground) >= 170]
    fresh = [c for c in fit if all(_apart(c, other) >= 120 for other in taken)]
    red, green, blue = (min(255, max(0, c + int(uniform(rng, -10, 10)))) for c in pick(rng, fresh or fit))
    return red, green, blue


def draw_mark(rng: np.random.Generator, ground: Colour, body: Colour) -> Colour:
    """Draw a colour for marks that stands out from `body` and, if the palette has such a colour, from the ground."""

    def differ(a: Colour, b: Colour) -> bool:
        return abs(luma(a) - luma(b)) >= MIN_CONTRAST + 10

    fit = [c for c in BODIES if differ(c, ground) and differ(c, body)]
    return pick(rng, fit or [shade(body, 0 if luma(body) > 120 else 255, 45)])


def _apart(a: Colour, b: Colour) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))
