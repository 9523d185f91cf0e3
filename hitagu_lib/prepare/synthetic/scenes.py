"""The events of the synthetic videos: classes and their motions.

    draw_scene(kind, rng, width, height) -> Scene

There are seven *kinds* of event, and each gives two classes: the event as drawn here, and the same event played backwards
(`PAIRS`). This module does not know which of the two is wanted; `make.render_clip` reverses the frames. Everything besides
the event (shake, distractor, pace, start and length) has the same distribution forwards and backwards. In a mirror, everything
has the same distribution except left and right themselves. So reversal, like mirroring, turns each class into exactly one class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hitagu_lib.prepare.synthetic.looks import (
    BLUNT,
    COMPACT,
    DOT,
    HALF,
    LOPSIDED,
    SHAPES,
    SPOT,
    STRIPE,
    Floats,
    draw_colour,
    draw_mark,
    draw_world,
    heading,
    luma,
    pick,
    shade,
    uniform,
)
from hitagu_lib.prepare.synthetic.raster import STEP_ONE, SUB, TURN, Colour, Ints, Scene, Thing, make_sprite

PAIRS: tuple[tuple[str, str], ...] = (
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Moving something up", "Moving something down"),
    ("Moving something and something closer to each other", "Moving something and something away from each other"),
    ("Covering something with something", "Uncovering something"),
    ("Spinning something clockwise", "Spinning something counter-clockwise"),
    ("Approaching something with your camera", "Moving away from something with your camera"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)
"""(the event as drawn, the same backwards), with the labels of Something-Something V2, which has none for the two spins."""

MIN_FRAMES, MAX_FRAMES = 24, 36


def wander(rng: np.random.Generator, frames: int, knot: int) -> Floats:
    """Draw a smooth random curve, (frames,) in -1..1, through a new random value every `knot` frames."""
    values = rng.random(frames // knot + 3) * 2 - 1
    position = (np.arange(frames) + uniform(rng, 0, knot)) / knot
    left = position.astype(np.int64)
    u = position - left
    return values[left] + (values[left + 1] - values[left]) * (u * u * (3 - 2 * u))


def progress(rng: np.random.Generator, frames: int, shares: tuple[float, float] = (0.6, 1.0)) -> Floats:
    """Draw the progress of the event at each frame, (frames,): 0, then a rise, then 1.

    shares: the bounds of the rise's length, as a share of the clip. The pace lies between linear and smoothstep and leans early
    or late. Played backwards, 1 - progress has the same distribution.
    """
    length = uniform(rng, *shares) * (frames - 1)
    start = uniform(rng, 0, frames - 1 - length)
    softness, lean = uniform(rng, 0, 1), uniform(rng, -0.5, 0.5)
    u = np.clip((np.arange(frames) - start) / length, 0, 1)
    u = u + lean * u * (1 - u)
    return u + softness * (u * u * (3 - 2 * u) - u)


@dataclass
class Stage:
    """What an event is drawn with. Lengths are in pixels of a 72 x 72 frame, positions from its middle; `unit` scales them."""

    rng: np.random.Generator
    frames: int
    p: Floats  # (frames,) progress 0..1
    ground: Colour
    unit: float
    taken: list[Colour]

    def u(self, low: float, high: float) -> float:
        return uniform(self.rng, low, high)

    def thing(
        self,
        radius: float,
        x: Floats | float,
        y: Floats | float,
        shapes: Sequence[Floats] = SHAPES,
        turn: Floats | float | None = None,
        marks: Sequence[Floats] | None = None,
        body: Colour | None = None,
    ) -> Thing:
        """Draw an object with a random look.

        turn: its angle in turns; None: a fixed random tilt. marks: None: random ones, perhaps none. body: its colour; None: a
        random one that stands out.
        """
        body = body or draw_colour(self.rng, self.ground, self.taken)
        self.taken.append(body)
        rim = shade(body, 0 if luma(body) > 120 else 255, 60)
        colours = (rim, body, draw_mark(self.rng, self.ground, body))
        if marks is None:
            marks = pick(self.rng, ((), (STRIPE,), (DOT,), (HALF,)))
        if turn is None:
            turn = self.u(0, 1)
        mirror = np.array([pick(self.rng, (-1.0, 1.0)), 1.0])
        sprite = make_sprite(pick(self.rng, shapes) * mirror, radius * self.unit, colours, marks)
        angle = np.broadcast_to(np.rint(np.asarray(turn) * TURN), (self.frames,)).astype(np.int64)
        return Thing(sprite, self.grid(x), self.grid(y), angle)

    def grid(self, pixels: Floats | float) -> Ints:
        """Convert pixels of a 72 x 72 frame to integers in 1/16 pixel of this clip's frames, (frames,)."""
        return np.broadcast_to(np.rint(np.asarray(pixels) * self.unit * SUB), (self.frames,)).astype(np.int64)


@dataclass
class Camera:
    x: Floats | float = 0.0
    y: Floats | float = 0.0
    step: Floats | float = 1.0


Event = Callable[[Stage], tuple[list[Thing], Camera]]
Sway = Callable[[np.random.Generator, int, int], Floats]
"""Like `wander`: (rng, number of frames, frames between knots) -> a curve in -1..1."""


def _push(s: Stage) -> tuple[list[Thing], Camera]:
    way = s.p - 0.5
    x = s.u(-3, 3) + s.u(36, 48) * way
    return [s.thing(s.u(8, 11), x, s.u(-14, 14) + s.u(-7, 7) * way)], Camera()


def _lift(s: Stage) -> tuple[list[Thing], Camera]:
    way = s.p - 0.5
    y = s.u(-3, 3) - s.u(30, 40) * way
    return [s.thing(s.u(7.5, 10), s.u(-18, 18) + s.u(-6, 6) * way, y)], Camera()


def _gather(s: Stage) -> tuple[list[Thing], Camera]:
    """Two objects of similar size both move, towards each other, until they almost touch."""
    first, second = s.u(7, 9.5), s.u(7, 9.5)
    dx, dy = heading(s.rng)
    near = first + second + s.u(0.5, 3)
    far = near + s.u(24, 30) * (1 - 0.3 * abs(dy))  # the frame is wider than high
    gap = far + (near - far) * s.p
    share = s.u(0.38, 0.62)  # of the way, covered by the first one
    aside = (share - 0.5) * (far + near) / 2  # keeps the two in the middle of the frame
    x, y = s.u(-4, 4) + aside * dx, s.u(-3, 3) + aside * dy
    a = s.thing(first, x - share * gap * dx, y - share * gap * dy)
    b = s.thing(second, x + (1 - share) * gap * dx, y + (1 - share) * gap * dy)
    return [a, b], Camera()


def _cover(s: Stage) -> tuple[list[Thing], Camera]:
    """A large object slides over a small one that lies still, and hides it."""
    small = s.u(6, 7.5)
    large = (small + s.u(3, 5)) / 0.7
    dx, dy = heading(s.rng, spread=0.8)
    x, y = s.u(-5, 5) - 6 * dx, s.u(-5, 5) - 3 * dy
    way = (1 - s.p) * (large + small + s.u(2, 5))
    end_x, end_y = x + s.u(-1.5, 1.5), y + s.u(-1.5, 1.5)
    target = s.thing(small, x, y, COMPACT)
    return [target, s.thing(large, end_x + dx * way, end_y + dy * way, BLUNT)], Camera()


def _spin(s: Stage) -> tuple[list[Thing], Camera]:
    """An object spins by 0.4 to 0.6 of a turn: hardly more than a fifth between two of eight sampled frames."""
    turn = s.u(0, 1) + s.u(0.4, 0.6) * s.p
    return [s.thing(s.u(15, 18), s.u(-10, 10), s.u(-6, 6), LOPSIDED, turn, (HALF, SPOT))], Camera()


def _approach(s: Stage) -> tuple[list[Thing], Camera]:
    far, near = s.u(1.25, 1.45), s.u(0.55, 0.68)
    return [s.thing(s.u(8.5, 10.5), s.u(-3, 3), s.u(-3, 3))], Camera(step=far + (near - far) * s.p)


def _turn_left(s: Stage) -> tuple[list[Thing], Camera]:
    way = s.p - 0.5
    thing = s.thing(s.u(8, 11), s.u(-4, 4), s.u(-10, 10))
    return [thing], Camera(x=-s.u(34, 46) * way, y=s.u(-5, 5) * way)


EVENTS: tuple[Event, ...] = (_push, _lift, _gather, _cover, _spin, _approach, _turn_left)
"""The function that draws each of PAIRS."""


def draw_scene(kind: int, rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw the scene of one clip of `width` x `height` pixels. kind: index into PAIRS."""
    return compose(rng, width, height, (MIN_FRAMES, MAX_FRAMES), progress, EVENTS[kind], distractors=1)


def compose(
    rng: np.random.Generator,
    width: int,
    height: int,
    lengths: tuple[int, int],
    pace: Callable[[np.random.Generator, int], Floats],
    event: Event,
    distractors: int,
    sway: Sway = wander,
) -> Scene:
    """Draw a scene of `lengths[0]` to `lengths[1]` frames: an event in a textured world, distractors, and a shaky camera.

    `sway` draws the curves that the camera's shake and the distractors follow.
    """
    fewest, most = lengths
    frames = fewest + int(rng.random() * (most - fewest + 1))
    unit = min(width, height) / 72
    # The world is large enough for the widest view and the longest turn of the camera.
    world, ground = draw_world(rng, int(height * 1.45 + 16 * unit), int(width * 1.45 + 38 * unit), unit)
    stage = Stage(rng, frames, pace(rng, frames), ground, unit, [])
    subjects, camera = event(stage)
    clutter: list[Thing] = []
    for _ in range(distractors):
        clutter += _distractor(stage, [*clutter, *subjects], width / unit, height / unit, sway)
    hand = uniform(rng, 0.3, 1.2)  # how unsteady, in pixels
    return Scene(
        width=width,
        height=height,
        world=world,
        camera_x=stage.grid(camera.x + hand * sway(rng, frames, 5)),
        camera_y=stage.grid(camera.y + hand * sway(rng, frames, 5)),
        step=np.broadcast_to(np.rint(np.asarray(camera.step) * STEP_ONE), (frames,)).astype(np.int64),
        things=(*clutter, *subjects),
        subjects=len(subjects),
    )


def _distractor(stage: Stage, subjects: Sequence[Thing], width: float, height: float, sway: Sway) -> list[Thing]:
    """Draw a small thing that wanders without ever touching the subjects; return none if there is no room for it."""
    radius, reach = stage.u(2.8, 4), stage.u(1, 4)
    dx = reach * sway(stage.rng, stage.frames, 9)
    dy = reach * sway(stage.rng, stage.frames, 9)
    for _ in range(12):
        x = stage.u(-0.5, 0.5) * (width - 8) + dx
        y = stage.u(-0.5, 0.5) * (height - 8) + dy
        if all(_clear(stage.grid(x), stage.grid(y), thing, radius * stage.unit) for thing in subjects):
            return [stage.thing(radius, x, y, marks=())]
    return []


def _clear(x: Ints, y: Ints, thing: Thing, radius: float) -> bool:
    """Return whether a disc of `radius` on its path (x, y) stays 2 pixels clear of everywhere that the thing passes."""
    dx, dy = x[:, None] - thing.x, y[:, None] - thing.y  # (T, T): every time of one against every time of the other
    reach = (thing.sprite.shape[0] / 2 + radius + 2) * SUB
    return bool((dx * dx + dy * dy > reach * reach).all())
