"""A small rasteriser for the synthetic videos: textures, sprites and a camera.

    smooth_field, stripes               (H, W) 0..255: textures of the world
    polygon_mask -> make_sprite         (n, n, 4) uint8: one object, drawn once per clip
    render                              world + sprites + camera -> (T, H, W, 3) uint8

Why not Pillow or OpenCV? Their pixels may change between versions and platforms, while the synthetic data promise the same
pixels everywhere. This rasteriser uses only integer arithmetic, on positions rounded to a sixteenth of a pixel.

Coordinates: x points right, y down, and the origin is the middle of the world. At a camera `step` of 1, one world pixel
covers one screen pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

SUB = 16
"""Positions are integers in 1/16 pixel: two bilinear weights of up to 16 and a byte just fit into 16 bits (255 * 16 * 16)."""
STEP_ONE = 1 << 10
"""A camera step of 1: one world pixel per screen pixel. A larger step is farther away."""
TURN = 4096
"""Angles are integers in 1/4096 turn, clockwise on the screen."""
_COS_BITS = 14
_COS_ONE = 1 << _COS_BITS
_VERTEX = 64  # polygon vertices are rounded to 1/64 pixel
_SAMPLES = 4  # mask samples per pixel along each axis
_MARGIN = 2  # transparent border of a sprite, so that clamped look-ups find nothing


@dataclass(frozen=True)
class Thing:
    """One object and its path through the world.

    sprite: (n, n, 4) uint8, colours already multiplied by alpha. x, y: (T,) its centre in 1/16 world pixel.
    angle: (T,) in 1/4096 turn.
    """

    sprite: Pixels
    x: Ints
    y: Ints
    angle: Ints


@dataclass(frozen=True)
class Scene:
    """Everything that `render` needs. Tests read the motion of a clip from here.

    world: (Hw, Ww, 3) uint8. camera_x, camera_y: (T,) the world point at the middle of the screen, in 1/16 world pixel.
    step: (T,) world pixels per screen pixel, in 1/1024. things: from back to front; the last `subjects` belong to the event.
    """

    width: int
    height: int
    world: Pixels
    camera_x: Ints
    camera_y: Ints
    step: Ints
    things: tuple[Thing, ...]
    subjects: int


def smooth_field(rng: np.random.Generator, height: int, width: int, cell: int) -> Ints:
    """Return value noise, (height, width), 0..255: random values every `cell` pixels, smoothly interpolated."""
    lattice = np.floor(rng.random((height // cell + 2, width // cell + 2)) * 256).astype(np.int32)
    (row, down), (column, right) = _knots(height, cell), _knots(width, cell)
    lines: Ints = lattice[:, column] * (64 - right) + lattice[:, column + 1] * right
    field: Ints = lines[row] * (64 - down[:, None]) + lines[row + 1] * down[:, None]
    return field >> 12  # two weights of 64


def _knots(size: int, cell: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for each pixel the lattice knot before it, and the smoothstep weight 0..64 of the knot after it."""
    position = np.arange(size)
    u = (position % cell) / cell
    return (position // cell).astype(np.int32), np.rint(64 * u * u * (3 - 2 * u)).astype(np.int32)


def stretch(field: Ints) -> Ints:
    """Return the field, scaled to the full range 0..255."""
    low, high = field.min(), field.max()
    return (field - low) * 255 // max(1, high - low)


def stripes(height: int, width: int, across: int, down: int, period: int) -> Ints:
    """Return parallel stripes along the direction (-down, across) / 16: a clipped triangle wave, (height, width), 0..255."""
    phase = (np.arange(height)[:, None] * down + np.arange(width)[None, :] * across) % (SUB * period)
    wave = np.abs(2 * phase - SUB * period) * 255 // (SUB * period)
    return np.clip((wave - 127) * 3 + 127, 0, 255)  # steeper flanks than a triangle's


def blend(first: Pixels | Ints, second: Colour | Ints, weight: Ints) -> Ints:
    """Return first + (second - first) * weight / 256, rounded, as (H, W, 3) int32. weight: (H, W), 0..256."""
    first = np.asarray(first, dtype=np.int32)
    return first + (((np.asarray(second, dtype=np.int32) - first) * weight[..., None].astype(np.int32) + 128) >> 8)


def polygon_mask(vertices: NDArray[np.float64], size: int) -> Ints:
    """Return the coverage, 0..255, of a (size, size) grid by a simple polygon.

    vertices: (V, 2), x and y in pixels from the grid's middle. The even-odd rule is tested at 4 x 4 samples per pixel.
    """
    corners = np.rint(vertices * _VERTEX).astype(np.int64) + size * _VERTEX // 2
    at = (2 * np.arange(size * _SAMPLES) + 1) * _VERTEX // (2 * _SAMPLES)
    inside = np.zeros((at.size, at.size), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 > y2:
            x1, y1, x2, y2 = x2, y2, x1, y1
        first, last = np.searchsorted(at, (y1, y2))
        crossed = (at[first:last, None] - y1) * (x2 - x1)
        inside[first:last] ^= (at[None, :] - x1) * (y2 - y1) < crossed
    counts = inside.reshape(size, _SAMPLES, size, _SAMPLES).sum(axis=(1, 3))
    return counts * 255 // _SAMPLES**2


def make_sprite(
    outline: NDArray[np.float64],
    radius: float,
    colours: tuple[Colour, Colour, Colour],
    marks: Sequence[NDArray[np.float64]] = (),
) -> Pixels:
    """Draw one object: a rim, a body inside it, and marks clipped to the body.

    outline: (V, 2), on or inside the unit circle. radius: that of the circle, in world pixels. colours: of rim, body, marks.
    Return (n, n, 4) uint8, colours multiplied by alpha, with n large enough for any rotation.
    """
    size = 2 * (int(np.ceil(radius)) + _MARGIN)
    rim, body, mark = colours
    alpha = polygon_mask(outline * radius, size)
    inside = np.broadcast_to(np.asarray(body), (size, size, 3))
    for shape in marks:
        inside = blend(inside, mark, polygon_mask(shape * radius, size))
    inner = polygon_mask(outline * max(radius - 1.5, radius * 0.8), size)
    paint = blend(np.broadcast_to(np.asarray(rim), (size, size, 3)), inside, inner)
    premultiplied = (paint * alpha[..., None] + 127) // 255
    return np.concatenate([premultiplied, alpha[..., None]], axis=-1).astype(np.uint8)


def render(scene: Scene) -> Pixels:
    """Draw all frames of a scene, (T, height, width, 3) uint8."""
    frames = _background(scene)
    for thing in scene.things:
        _stamp(frames, scene, thing)
    return frames


def _background(scene: Scene) -> Pixels:
    """Draw the world as the camera sees it, (T, H, W, 3) uint8: bilinear, with the edge pixels repeated beyond the edge."""
    height, width = scene.world.shape[:2]
    world = scene.world.astype(np.uint16).reshape(height, width * 3)  # one long axis is faster than columns of 3
    rows, down = _look_up(scene.height, scene.camera_y, scene.step, height)
    columns, right = _look_up(scene.width, scene.camera_x, scene.step, width)
    frames = np.empty((scene.step.size, scene.height, scene.width * 3), dtype=np.uint8)
    for t in range(scene.step.size):
        strip = world[rows[t, 0] : rows[t, -1] + 2, columns[t, 0] * 3 : (columns[t, -1] + 2) * 3]
        if scene.step[t] == STEP_ONE and strip.shape == (scene.height + 1, 3 * scene.width + 3):  # a plain shift
            weight = down[t, 0]
            lines = strip[:-1] * (SUB - weight) + strip[1:] * weight
            weight = right[t, 0]
            mixed = lines[:, :-3] * (SUB - weight) + lines[:, 3:] * weight
        else:
            row, weight = rows[t] - rows[t, 0], down[t, :, None]
            lines = strip[row] * (SUB - weight) + strip[row + 1] * weight
            column = ((columns[t] - columns[t, 0]) * 3)[:, None] + np.arange(3)
            left, weight = column.reshape(-1), np.repeat(right[t], 3)
            mixed = lines[:, left] * (SUB - weight) + lines[:, left + 3] * weight
        frames[t] = mixed >> 8  # mixed: 65280 at most
    return frames.reshape(scene.step.size, scene.height, scene.width, 3)


def _look_up(size: int, camera: Ints, step: Ints, world: int) -> tuple[Ints, NDArray[np.uint16]]:
    """Return along one axis, for each screen pixel, the world pixel before it and the weight 0..15 of the next: (T, size) each."""
    offsets = (2 * np.arange(size) + 1 - size) * (SUB * step[:, None]) // (2 * STEP_ONE)
    position = np.clip(camera[:, None] + offsets + SUB * world // 2 - SUB // 2, 0, SUB * (world - 1) - 1)
    return position // SUB, (position % SUB).astype(np.uint16)


def _stamp(frames: Pixels, scene: Scene, thing: Thing) -> None:
    """Draw one thing into all frames, in place."""
    n = thing.sprite.shape[0]
    box = int(np.ceil(n * STEP_ONE / scene.step.min())) + 1
    # The thing's centre on the screen, in 1/16 screen pixel from the top left corner.
    x = (thing.x - scene.camera_x) * STEP_ONE // scene.step + SUB * scene.width // 2
    y = (thing.y - scene.camera_y) * STEP_ONE // scene.step + SUB * scene.height // 2
    x0, y0 = x // SUB - box // 2, y // SUB - box // 2
    # From the screen back into the sprite: turn by -angle, scale by step.
    radians = (thing.angle % TURN) * (2 * np.pi / TURN)
    turn = (np.rint(wave(radians) * _COS_ONE).astype(np.int64) * scene.step // STEP_ONE for wave in (np.cos, np.sin))
    cos, sin = (values.astype(np.int32)[:, None, None] for values in turn)
    dx = ((x0[:, None] + np.arange(box)) * SUB + SUB // 2 - x[:, None]).astype(np.int32)[:, None, :]  # (T, 1, box)
    dy = ((y0[:, None] + np.arange(box)) * SUB + SUB // 2 - y[:, None]).astype(np.int32)[:, :, None]  # (T, box, 1)
    middle, last = SUB * n // 2 - SUB // 2, SUB * (n - 1) - 1
    u = np.clip(((cos * dx + sin * dy) >> _COS_BITS) + middle, 0, last)  # (T, box, box)
    v = np.clip(((cos * dy - sin * dx) >> _COS_BITS) + middle, 0, last)
    patches = _bilinear(thing.sprite, u, v)
    for t in range(frames.shape[0]):
        top, left = max(0, y0[t]), max(0, x0[t])
        bottom, right = min(scene.height, y0[t] + box), min(scene.width, x0[t] + box)
        if top >= bottom or left >= right:
            continue
        patch = patches[t, top - y0[t] : bottom - y0[t], left - x0[t] : right - x0[t]]
        under = frames[t, top:bottom, left:right]
        kept = under * (255 - patch[..., 3:]).astype(np.uint16) + 128
        under[...] = patch[..., :3] + ((kept + (kept >> 8)) >> 8)  # exact rounding division by 255


def _bilinear(sprite: Pixels, u: Ints, v: Ints) -> Pixels:
    """Sample the sprite at (u, v), given in 1/16 pixel; u, v: (T, b, b). Return (T, b, b, 4) uint8."""
    n = sprite.shape[0]
    texels = np.ascontiguousarray(sprite).view(np.uint32).reshape(-1)  # one look-up for all four channels
    index = (v // SUB) * n + u // SUB
    right, down = (u % SUB).astype(np.uint32), (v % SUB).astype(np.uint32)
    corners = [texels[index + offset] for offset in (0, 1, n, n + 1)]

    def mix(shift: int) -> NDArray[np.uint32]:
        """Interpolate two channels at once, each in its own 16 bits, which 255 * 16 * 16 does not exceed."""
        a, b, c, d = ((corner >> shift) & 0x00FF00FF for corner in corners)
        return (a * (SUB - right) + b * right) * (SUB - down) + (c * (SUB - right) + d * right) * down

    mixed = ((mix(0) >> 8) & 0x00FF00FF) | (mix(8) & 0xFF00FF00)
    return mixed.view(np.uint8).reshape(*index.shape, 4)
