"""The scenes of the hard set: more and smaller things, shorter events, and pairs that only a memory can tell apart.

    draw_hard_scene(kind, rng, width, height) -> Scene

Four kinds of event are motions like those of mini, but shorter and among clutter. In the other three, two things of different
colours are shown, with a long pause between them. The two classes of such a pair differ only in which thing comes first, so no
excerpt shorter than the pause tells them apart. Showing a thing looks the same backwards. Therefore the rule of `scenes` holds
here too: played backwards, each class is exactly its partner.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from hitagu_lib.prepare.synthetic.looks import BLUNT, Floats, pick
from hitagu_lib.prepare.synthetic.raster import Colour, Scene, Thing
from hitagu_lib.prepare.synthetic.scenes import Camera, Stage, compose, progress

COLOURS: dict[str, Colour] = {
    "red": (225, 40, 40),
    "blue": (40, 90, 230),
    "green": (40, 165, 70),
    "yellow": (250, 220, 50),
}
SHOWN = (("red", "blue"), ("green", "yellow"), ("red", "green"))

HARD_PAIRS: tuple[tuple[str, str], ...] = (
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Approaching something with your camera", "Moving away from something with your camera"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
    ("Turning the camera upwards while filming something", "Turning the camera downwards while filming something"),
    *((f"Showing something {a}, then something {b}", f"Showing something {b}, then something {a}") for a, b in SHOWN),
)
"""(the event as drawn, the same backwards)."""

HARD_FRAMES = (56, 64)
"""The smallest and largest number of frames of a clip."""

Drawn = tuple[list[Thing], Camera]


def draw_hard_scene(kind: int, rng: np.random.Generator, width: int, height: int) -> Scene:
    """Draw the scene of one clip of `width` x `height` pixels. kind: index into HARD_PAIRS."""
    return compose(rng, width, height, HARD_FRAMES, _progress, EVENTS[kind], distractors=4)


def _progress(rng: np.random.Generator, frames: int) -> Floats:
    return progress(rng, frames, shares=(0.3, 0.45))


def _push(s: Stage) -> Drawn:
    x = s.u(-6, 6) + s.u(32, 42) * (s.p - 0.5)
    return [s.thing(s.u(8, 10), x, s.u(-16, 16))], Camera()


def _approach(s: Stage) -> Drawn:
    far, near = s.u(1.25, 1.45), s.u(0.6, 0.75)
    return _something(s), Camera(step=far + (near - far) * s.p)


def _turn_left(s: Stage) -> Drawn:
    return _something(s), Camera(x=-s.u(40, 50) * (s.p - 0.5))


def _turn_up(s: Stage) -> Drawn:
    return _something(s), Camera(y=-s.u(34, 42) * (s.p - 0.5))


def _something(s: Stage) -> list[Thing]:
    """Draw the thing that is filmed: anywhere in view, and hardly larger than the distractors."""
    return [s.thing(s.u(4, 6), s.u(-22, 22), s.u(-22, 22))]


def show_two(
    colours: tuple[str, str],
    s: Stage,
    lengths: tuple[float, float] = (9, 11),
    pauses: tuple[float, float] = (24, 28),
) -> Drawn:
    """Show one thing, take it away, and after a pause show another.

    lengths, pauses: the bounds, in frames, of the duration of each of the two events and of the pause between them.
    """
    first, second, pause = s.u(*lengths), s.u(*lengths), s.u(*pauses)
    start = s.u(0, s.frames - 1 - first - pause - second)
    spans = ((start, first), (start + first + pause, second))
    return [_shown(s, COLOURS[name], *span) for name, span in zip(colours, spans, strict=True)], Camera()


def _shown(s: Stage, body: Colour, start: float, length: float) -> Thing:
    """Draw a thing that enters from one of the four sides, stays, and leaves again within `length` frames from `start` on."""
    u = np.clip((np.arange(s.frames) - start) / length, 0, 1)
    there = np.minimum(1, 3.5 * np.minimum(u, 1 - u))
    radius, away = s.u(9, 12), 60.0
    dx, dy = pick(s.rng, ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)))
    x = s.u(-12, 12) * (1 - abs(dx)) + dx * (away + (s.u(4, 12) - away) * there)
    y = s.u(-12, 12) * (1 - abs(dy)) + dy * (away + (s.u(4, 12) - away) * there)
    return s.thing(radius, x, y, BLUNT, marks=(), body=body)


EVENTS: tuple[Callable[[Stage], Drawn], ...] = (
    *(_push, _approach, _turn_left, _turn_up),
    *(partial(show_two, c) for c in SHOWN),
)
"""The function that draws each of HARD_PAIRS."""
