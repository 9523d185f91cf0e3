"""The hard set: what its clips show, measured on the pixels; only the order of two distant events tells a pair apart."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hitagu_lib.config import load_config
from hitagu_lib.data.dataset import swap_table
from hitagu_lib.errors import ConfigError, ListError
from hitagu_lib.prepare.synthetic.hard import COLOURS, HARD_FRAMES
from hitagu_lib.prepare.synthetic.make import SETTINGS, MiniSpec, clip_scene, prepare_mini, render_clip
from hitagu_lib.prepare.synthetic.raster import render

HARD, SPEC = SETTINGS["hard"], MiniSpec.of("hard")
SHOWN = [label for label, name in enumerate(HARD.classes) if ", then " in name]
OPPOSITES = {
    "Pushing something from left to right": "Pushing something from right to left",
    "Approaching something with your camera": "Moving away from something with your camera",
    "Turning the camera left while filming something": "Turning the camera right while filming something",
    "Turning the camera upwards while filming something": "Turning the camera downwards while filming something",
}
MOVED = [label for label in range(len(HARD.classes)) if label not in SHOWN]


def test_partner_and_hflip_do_what_their_names_say() -> None:
    for label, name in enumerate(HARD.classes):
        partner, mirrored = HARD.classes[HARD.partner[label]], HARD.classes[HARD.hflip[label]]
        if label in SHOWN:
            first, second = (part.split()[-1] for part in name.split(", then "))
            assert partner == f"Showing something {second}, then something {first}" and mirrored == name
        else:
            assert partner == OPPOSITES.get(name) or name == OPPOSITES.get(partner)
            assert mirrored == (partner if "left" in name or "right" in name else name)


def test_params_and_generator_agree_on_mirrors_and_reverses() -> None:
    cfg = load_config("params/hard.yaml")
    assert cfg.data.prepare == "hard"
    assert swap_table(HARD.classes, cfg.data.hflip_swaps, "data.hflip_swaps").tolist() == list(HARD.hflip)
    assert swap_table(HARD.classes, cfg.data.reverse_swaps, "data.reverse_swaps").tolist() == list(HARD.partner)


def visible(label: int, seed: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return colour -> whether the thing of this colour is visible in each frame, in the clip's order."""
    scene, order = clip_scene(label, seed, SPEC)
    things = scene.things[-scene.subjects :]
    shown = {}
    for thing in things:
        frames = render(replace(scene, world=np.zeros_like(scene.world), things=(thing,)))
        middle = thing.sprite[thing.sprite.shape[0] // 2, thing.sprite.shape[1] // 2, :3].astype(int)
        colour = min(COLOURS, key=lambda name: int(np.abs(middle - np.array(COLOURS[name])).sum()))
        shown[colour] = frames.any(axis=(1, 2, 3))[order]
    return shown


@pytest.mark.parametrize("label", SHOWN, ids=lambda label: HARD.classes[label])
def test_two_things_are_shown_in_the_order_of_the_name_with_a_pause_between(label: int) -> None:
    first, second = (part.split()[-1] for part in HARD.classes[label].split(", then "))
    for i in range(6):
        seen = visible(label, (7, 0, label, i))
        assert set(seen) == {first, second}
        one, other = (np.nonzero(seen[name])[0] for name in (first, second))
        for times in (one, other):
            assert 3 <= len(times) <= 12 and np.array_equal(times, np.arange(times[0], times[-1] + 1))
        assert other[0] - one[-1] > 22
        # The 9 neighbouring samples of 16 that a network of four shifts sees at once never cover both.
        assert other[-1] - one[0] > 8 * len(seen[first]) / 16


@pytest.mark.parametrize("label", range(len(HARD.classes)), ids=HARD.classes)
def test_partners_have_the_same_frames_in_opposite_order(label: int) -> None:
    seed = (5, 1, label, 2)
    one, other = render_clip(label, seed, SPEC), render_clip(HARD.partner[label], seed, SPEC)
    assert HARD_FRAMES[0] <= len(one) <= HARD_FRAMES[1]
    assert np.array_equal(one, other[::-1]) and not np.array_equal(one, other)


@pytest.mark.parametrize("label", MOVED, ids=lambda label: HARD.classes[label])
def test_motions_go_where_the_name_says_and_take_less_than_half_the_clip(label: int) -> None:
    name = HARD.classes[label]
    for i in range(6):
        scene, order = clip_scene(label, (8, 0, label, i), SPEC)
        pixels = {
            "x": (scene.things[-1].x - scene.camera_x)[order] / 16,  # on the screen: relative to the camera
            "y": (scene.things[-1].y - scene.camera_y)[order] / 16,
            "nearness": -60 * scene.step[order] / 1024,  # as fast as the other two
        }
        what, sign = {
            "Pushing something from left to right": ("x", 1),
            "Approaching something with your camera": ("nearness", 1),
            "Turning the camera right while filming something": ("x", -1),
            "Turning the camera downwards while filming something": ("y", -1),
        }.get(name) or {
            "Pushing something from right to left": ("x", -1),
            "Moving away from something with your camera": ("nearness", -1),
            "Turning the camera left while filming something": ("x", 1),
            "Turning the camera upwards while filming something": ("y", 1),
        }[name]
        assert sign * (pixels[what][-1] - pixels[what][0]) > 20
        moving = np.nonzero(np.abs(np.diff(pixels[what])) > 1.2)[0]
        assert moving[-1] - moving[0] < len(scene.camera_x) / 2


GOLDEN = {
    "Approaching something with your camera": "(61, 72, 72, 3) a0aefe2308c375ac",
    "Pushing something from left to right": "(61, 72, 72, 3) ef03d01ec2a6a165",
    "Showing something blue, then something red": "(64, 72, 72, 3) 3ffa8ba88d5b6d2a",
    "Showing something green, then something red": "(64, 72, 72, 3) d5555fd4ec37c0f6",
    "Showing something green, then something yellow": "(61, 72, 72, 3) 7ce9f84ccc66cee0",
    "Turning the camera downwards while filming something": "(60, 72, 72, 3) 714b8feb49834b99",
    "Turning the camera left while filming something": "(61, 72, 72, 3) 7ec64013f91ab46e",
}


@pytest.mark.parametrize("label", [a for a in range(len(HARD.classes)) if a < HARD.partner[a]])
def test_pixels_are_the_same_on_every_machine(label: int) -> None:
    frames = render_clip(label, (0, 0, label, 0), SPEC)
    found = f"{frames.shape} {hashlib.sha256(frames.tobytes()).hexdigest()[:16]}"
    assert found == GOLDEN[HARD.classes[label]], (
        "if the pixels were meant to change, raise GENERATOR_VERSION with these"
    )


@pytest.mark.slow
def test_a_folder_holds_one_setting(tmp_path: Path) -> None:
    out = tmp_path / "set"
    prepare_mini(
        out, MiniSpec.of("hard", train_per_class=1, val_per_class=1), use_ffmpeg=False, workers=1, progress=False
    )
    assert (out / "classes.txt").read_text(encoding="utf-8").splitlines() == list(HARD.classes)
    with pytest.raises(ListError, match=r"setting 'hard'.*expected.*setting 'mini'"):
        prepare_mini(out, MiniSpec(train_per_class=1, val_per_class=1), use_ffmpeg=False, workers=1, progress=False)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 'maxi'; expected one of mini, hard"):
        MiniSpec.of("maxi")
