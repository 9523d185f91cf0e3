"""The synthetic videos that only a memory tells apart: the cue is early, then nothing happens for a long time.

    draw_memory_scene(kind, rng, width, height, split) -> Scene, in the frame order of the pair's first class
    partner_order(kind, frames)                        -> the order of the same frames in the second class

Three kinds of task, on clips of BLOCK + BLOCK + wait * WAIT + MARK frames:

    Lighting    | flashes | flashes | wait        | mark |   four lamps flash in two colours; which one had the marked lamp last?
    Hiding      | a trip  | a trip  | wait               |   a thing hides behind one screen, then behind the other; where is it?
    Showing     | first thing       wait    second thing |   hard's pairs: which thing came first?

The two classes of a pair differ in the order of their frames alone, so a method blind to order is at chance. Lighting and
Hiding exchange their two blocks; what follows the blocks is the same in both classes, bit for bit. Played backwards, a
Lighting clip begins with its mark and belongs to no class, and a Hiding clip ends where it began, in its own class. Showing
is played backwards, as hard's pairs are. The wait follows the cue in the first two, and separates two cues in the third.

In Lighting, a method also has to know *where* each colour was. In validation two lamps end in each colour, so their number does
not tell. In training the lamps' last colours are left to chance, and to count them is right in 69 % of the clips: a step on the
way. With even training clips, a network that has not learned yet finds nothing that lowers its loss.

The hand and the distractors end each block where they began it, so that an exchange leaves no jump to see.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from hitagu_lib.prepare.synthetic.hard import COLOURS, show_two
from hitagu_lib.prepare.synthetic.looks import CIRCLE, COMPACT, Floats, pick
from hitagu_lib.prepare.synthetic.raster import Colour, Ints, Scene, Thing
from hitagu_lib.prepare.synthetic.scenes import Camera, Event, Stage, compose, wander

STRIDE = 4
"""Frames between two sampled ones (`data.ref_stride` in params/memory.yaml)."""
BLOCK, WAIT, MARK = 8, 12, 7
"""Frames of a block, of the training clips' wait, and of the mark at the end. WAIT is three strides and TSM's four shifts see four
to each side, so a frame amid the wait has a cue and the mark in view, at twice the wait too. At four times the wait none has."""

LIT = ("blue", "yellow")
"""The lamps' two colours. They also differ in brightness."""
SHOWN = ("green", "yellow")

MEMORY_PAIRS: tuple[tuple[str, str], ...] = (
    (f"Lighting something {LIT[0]} last, then marking it", f"Lighting something {LIT[1]} last, then marking it"),
    ("Hiding something behind the left screen", "Hiding something behind the right screen"),
    (
        f"Showing something {SHOWN[0]}, then something {SHOWN[1]}",
        f"Showing something {SHOWN[1]}, then something {SHOWN[0]}",
    ),
)
"""(the class in the order of frames as drawn, the class of the same frames in `partner_order`)."""
REVERSED = MEMORY_PAIRS[-1:]
"""The pairs whose classes are each other played backwards."""

TRAINING_SHARES = {"Lighting": 0.5, "Showing": 0.25}
"""What is learned soon gets fewer training clips than Hiding, which networks learn last."""

WAITS = {"train": 1, "val": 1, "val_wait2": 2, "val_wait4": 4, "val_wait8": 8}
"""List -> how many times WAIT its clips wait."""

_OFF: Colour = (34, 34, 38)
_HALO: Colour = (245, 245, 240)
_AWAY = 200.0  # pixels from the middle: out of sight
_LAMP, _RING = 7.0, 11.0  # radii
_SCREEN_X, _SCREEN_HALF, _SCREEN_HIGH = 26.0, 8.5, 22.0  # a screen's middle, half its width and half its height
_SCREEN = np.array([(-_SCREEN_HALF, -_SCREEN_HIGH), (_SCREEN_HALF, -_SCREEN_HIGH)]) / (_SCREEN_HIGH + 2)
_SCREEN = np.concatenate([_SCREEN, -_SCREEN])

Drawn = tuple[list[Thing], Camera]


def clip_frames(wait: int) -> int:
    """The length of a clip that waits `wait` times WAIT."""
    return 2 * BLOCK + wait * WAIT + MARK


def draw_memory_scene(kind: int, rng: np.random.Generator, width: int, height: int, split: str) -> Scene:
    """The scene of one clip of `width` x `height` pixels. kind: index into MEMORY_PAIRS. split: one of WAITS.

    The split says how long the clip waits, and whether a Lighting clip is even (see the module's docstring).
    """
    wait, even, name = WAITS[split], split != "train", MEMORY_PAIRS[kind][0]
    frames = clip_frames(wait)
    lengths, sway = (frames, frames), wander if MEMORY_PAIRS[kind] in REVERSED else _loops
    event: Event
    if name.startswith("Showing"):
        pauses = wait * WAIT + 2.0, wait * WAIT + 4.0
        event = partial(show_two, SHOWN, lengths=(6, 7), pauses=pauses)
    elif name.startswith("Hiding"):
        event = _hide
    else:
        event = partial(_light, even)
    return compose(rng, width, height, lengths, _at_once, event, distractors=2, sway=sway)


def partner_order(kind: int, frames: int) -> Ints:
    """Which frames of the scene as drawn make the pair's second class, (frames,)."""
    at = np.arange(frames)
    if MEMORY_PAIRS[kind] in REVERSED:
        return at[::-1]
    return np.concatenate([at[BLOCK : 2 * BLOCK], at[:BLOCK], at[2 * BLOCK :]])


def _at_once(rng: np.random.Generator, frames: int) -> Floats:
    """No pace: these events keep their own time."""
    return np.zeros(frames)


def _loops(rng: np.random.Generator, frames: int, knot: int) -> Floats:
    """Like `wander`, but each block, and what follows the blocks, begins and ends at 0. (frames,)"""
    parts = []
    for length in (BLOCK, BLOCK, frames - 2 * BLOCK):
        curve, u = wander(rng, length, knot), np.arange(length) / (length - 1)
        parts.append(curve - (curve[0] * (1 - u) + curve[-1] * u))
    return np.concatenate(parts)


def _light(even: bool, s: Stage) -> Drawn:
    """Four lamps flash once in each colour; as drawn, the marked one flashes in the first colour last.

    even: two lamps have each of the colours last, so neither their number nor the last flash of all tells: one has to know where.
    """
    s.taken += (COLOURS[name] for name in LIT)
    places = [(side * 18 + s.u(-3, 3), level * 18 + s.u(-3, 3)) for side in (-1, 1) for level in (-1, 1)]
    marked = pick(s.rng, range(4))
    fellow = (marked + pick(s.rng, (1, 2, 3))) % 4  # the lamp whose last colour is the marked one's
    halo_x = np.full(s.frames, _AWAY)
    halo_x[-MARK:] = places[marked][0]
    things = [s.thing(_RING, halo_x, places[marked][1], (CIRCLE,), marks=(), body=_HALO)]
    for i, (x, y) in enumerate(places):
        things.append(s.thing(_LAMP, x, y, (CIRCLE,), marks=(), body=_OFF))
        chance, balanced = pick(s.rng, (0, 1)), int(i not in (marked, fellow))
        lit = _flashes(s, last=balanced if even or i == marked else chance)
        for k, name in enumerate(LIT):
            things.append(s.thing(_LAMP, np.where(lit == k, x, _AWAY), y, (CIRCLE,), marks=(), body=COLOURS[name]))
    return things, Camera()


def _flashes(s: Stage, last: int) -> Ints:
    """Which colour a lamp shows at each frame, 0 or 1, and -1 while it is dark. (frames,)

    It flashes in the other colour in the first block, and in `last` in the second one. Blocks begin and end dark.
    """
    lit = np.full(s.frames, -1)
    for block, colour in enumerate((1 - last, last)):
        # No flash is shorter than STRIDE: one frame of every STRIDE is sampled, so each is seen.
        length = _whole(s, STRIDE, STRIDE + 1)
        start = block * BLOCK + _whole(s, 1, BLOCK - 1 - length)
        lit[start : start + length] = colour
    return lit


def _hide(s: Stage) -> Drawn:
    """A thing crosses from screen to screen and back; as drawn, it ends on the left."""
    x = -_SCREEN_X * np.concatenate([-_trip(s), _trip(s), np.ones(s.frames - 2 * BLOCK)])
    thing = s.thing(s.u(6, 6.5), x, s.u(-12, 12), COMPACT)
    screen = s.thing(_SCREEN_HIGH + 2, -_SCREEN_X, s.u(-2, 2), (_SCREEN,), turn=0.0, marks=())
    right = Thing(screen.sprite, -screen.x, screen.y, screen.angle)
    return [thing, screen, right], Camera()


def _trip(s: Stage) -> Floats:
    """The way from one screen to the other within a block: -1 at its beginning, 1 at its end. (BLOCK,)

    The thing dashes across, then lingers before the screen that it goes behind. Of the four samplings three see it whole there; the
    fourth sees it whole midway, and then its edge at that screen.
    """
    dash, linger = s.u(-0.2, 0), s.u(0.15, 0.25)
    way = (-1, -0.7, dash, linger, linger + 0.08, linger + 0.16, 0.8, 1)
    return np.array(way)


def _whole(s: Stage, low: int, high: int) -> int:
    """A random whole number, both bounds included."""
    return pick(s.rng, range(low, high + 1))
