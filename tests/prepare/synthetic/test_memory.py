"""The memory setting: its labels are true, order alone decides, and sampling sees each event at every length."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from hitagu_lib.cli.main import main
from hitagu_lib.config import load_config
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import ClipDataset, swap_table
from hitagu_lib.data.sampling import dense_indices
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import ConfigError
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.prepare.synthetic.hard import COLOURS
from hitagu_lib.prepare.synthetic.looks import luma
from hitagu_lib.prepare.synthetic.make import (
    SETTINGS,
    SPLITS,
    MiniSpec,
    clip_scene,
    clip_seed,
    render_clip,
    write_videos,
)
from hitagu_lib.prepare.synthetic.memory import (
    BLOCK,
    LIT,
    MARK,
    MEMORY_PAIRS,
    REVERSED,
    STRIDE,
    WAIT,
    WAITS,
    clip_frames,
    partner_order,
)
from hitagu_lib.prepare.synthetic.raster import Pixels, Scene, render

ROOT = Path(__file__).resolve().parents[3]
MEMORY, SPEC = SETTINGS["memory"], MiniSpec.of("memory")
LABELS = range(len(MEMORY.classes))
LIGHTING, HIDING, SHOWING = (
    [label for label in LABELS if MEMORY.classes[label].startswith(word)] for word in ("Lighting", "Hiding", "Showing")
)
LENGTHS = sorted(set(WAITS.values()))


def name_of(label: int) -> str:
    return MEMORY.classes[label]


def samples(wait: int) -> int:
    """How many frames are sampled of a clip that waits so often."""
    return clip_frames(wait) // STRIDE


def split_of(wait: int) -> str:
    """The validation list whose clips wait so often."""
    return next(split for split, one in WAITS.items() if split != "train" and one == wait)


# --- the classes -------------------------------------------------------------------------------------------------------

OPPOSITES = {
    "Lighting something blue last, then marking it": "Lighting something yellow last, then marking it",
    "Hiding something behind the left screen": "Hiding something behind the right screen",
    "Showing something green, then something yellow": "Showing something yellow, then something green",
}


def test_partner_and_mirror_say_what_their_names_say() -> None:
    both_ways = OPPOSITES | {b: a for a, b in OPPOSITES.items()}
    assert {name_of(a): name_of(b) for a, b in enumerate(MEMORY.partner)} == both_ways
    assert [label for label in LABELS if MEMORY.hflip[label] != label] == HIDING
    assert [MEMORY.hflip[label] for label in HIDING] == HIDING[::-1]


def test_params_and_generator_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    data = load_config("params/memory.yaml").data
    assert (data.prepare, data.sampling, data.ref_stride) == ("memory", "dense", STRIDE)
    assert data.num_frames == samples(WAITS["val"]) == samples(WAITS["train"])
    assert data.dense_span == data.num_frames * STRIDE
    assert swap_table(MEMORY.classes, data.hflip_swaps, "data.hflip_swaps").tolist() == list(MEMORY.hflip)
    assert {frozenset(pair) for pair in data.reverse_swaps} == {frozenset(pair) for pair in REVERSED}


def test_the_lamps_colours_differ_in_brightness_too() -> None:
    first, second = LIT
    assert abs(luma(COLOURS[first]) - luma(COLOURS[second])) > 60


def test_only_memory_waits() -> None:
    waits = "train, val, val_wait2, val_wait4, val_wait8"
    with pytest.raises(ConfigError, match=f"split: found 'val_wait3', expected for memory one of {waits}"):
        render_clip(0, (0, 0, 0, 0), SPEC, "val_wait3")
    with pytest.raises(ConfigError, match="split: found 'val_wait2', expected for mini one of train, val"):
        render_clip(0, (0, 0, 0, 0), MiniSpec(), "val_wait2")


# --- order alone decides -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val", "val_wait2"])
@pytest.mark.parametrize("kind", range(len(MEMORY_PAIRS)), ids=[pair[0] for pair in MEMORY_PAIRS])
def test_partners_have_the_same_frames_in_another_order_bit_for_bit(kind: int, split: str) -> None:
    """With independent seeds for all clips, a pair's frames, taken as a set, have one and the same distribution under both labels.

    So no method blind to order can do better than a coin, nor can one that sees a frame of the clip drawn at random.
    """
    label, partner = (MEMORY.classes.index(name) for name in MEMORY_PAIRS[kind])
    for i in range(2):
        seed = (5, 1, kind, i)
        one, other = render_clip(label, seed, SPEC, split), render_clip(partner, seed, SPEC, split)
        assert len(one) == clip_frames(WAITS[split])
        assert Counter(frame.tobytes() for frame in one) == Counter(frame.tobytes() for frame in other)
        assert np.array_equal(one[partner_order(kind, len(one))], other) and not np.array_equal(one, other)
        if MEMORY_PAIRS[kind] in REVERSED:
            assert np.array_equal(one, other[::-1])
        else:  # neither the first frame nor any after the blocks tells: the wait, and the mark
            assert np.array_equal(one[0], other[0]) and np.array_equal(one[2 * BLOCK :], other[2 * BLOCK :])


def test_only_the_order_of_two_blocks_differs() -> None:
    for kind, pair in enumerate(MEMORY_PAIRS):
        for wait in LENGTHS:
            order = partner_order(kind, clip_frames(wait))
            assert sorted(order) == list(range(clip_frames(wait)))
            assert np.array_equal(order[order], np.arange(len(order))), "the partner's partner is the clip itself"
            moved = np.nonzero(order != np.arange(len(order)))[0]
            assert (pair in REVERSED) or moved.tolist() == list(range(2 * BLOCK))


@pytest.mark.parametrize("label", [*LIGHTING, *HIDING], ids=name_of)
def test_an_exchange_of_blocks_leaves_no_jump(label: int) -> None:
    """The camera and the distractors are at one place at both ends of both blocks."""
    shakes = []
    for i in range(4):
        scene, _ = clip_scene(label, (6, 0, label, i), SPEC)
        curves = [scene.camera_x, scene.camera_y, *(c for t in scene.things[: -scene.subjects] for c in (t.x, t.y))]
        ends = [0, BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK]
        assert all(len(set(curve[ends].tolist())) == 1 for curve in curves)
        shakes.append(np.ptp(scene.camera_x) / 16)
    assert max(shakes) > 0.5, "and the hand is not still: pixels"


def test_the_video_codec_keeps_that(tmp_path: Path) -> None:
    files = []
    for label in LIGHTING[:1] + [MEMORY.partner[LIGHTING[0]]]:
        video = tmp_path / f"{label}.mp4"
        write_videos({video: render_clip(label, (0, 0, 0, 0), SPEC)}, ffmpeg_path())
        extract_video(video, tmp_path / f"{label}")
        files.append([file.read_bytes() for file in sorted((tmp_path / f"{label}").glob("*.jpg"))])
    kind, _ = MEMORY.pair_of(LIGHTING[0])
    one, other = files
    assert len(one) == clip_frames(1) and [one[i] for i in partner_order(kind, len(one))] == other


# --- what a clip shows, and when -----------------------------------------------------------------------------------------


def drawn(label: int, i: int, split: str) -> tuple[Scene, np.ndarray]:
    """A scene, and the order in which its frames make a clip of this label."""
    return clip_scene(label, (7, 0, label, i), SPEC, split)


def runs(shown: np.ndarray) -> list[tuple[object, int, int]]:
    """(value, first frame, last frame) of every stretch of one value that is not None."""
    found, at = [], 0
    for value, group in groupby(shown.tolist()):
        length = len(list(group))
        if value is not None:
            found.append((value, at, at + length - 1))
        at += length
    return found


def lamps(label: int, i: int, split: str) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Of a Lighting clip, in the clip's order: each lamp's colour at each frame, None where dark; where the mark is seen; the marked lamp.

    Read off the rendered frames at the lamps' middles.
    """
    scene, order = drawn(label, i, split)
    frames = render(scene)[order].astype(int)
    halo, *parts = scene.things[-scene.subjects :]
    bases = parts[::3]
    seen = []
    for base in bases:
        x, y = ((int(c[0]) // 16 + 36) for c in (base.x, base.y))
        patch = frames[:, y - 1 : y + 2, x - 1 : x + 2].mean(axis=(1, 2))
        distance = {c: np.abs(patch - np.array(COLOURS[c])).sum(axis=1) for c in LIT}
        lit = np.full(len(frames), None, dtype=object)
        for c in LIT:
            lit[distance[c] < 60] = c
        seen.append(lit)
    alone = render(replace(scene, world=np.zeros_like(scene.world), things=(halo,)))[order]
    marked = int(np.argmin([abs(b.x[0] - halo.x[-1]) + abs(b.y[0] - halo.y[-1]) for b in bases]))
    return seen, alone.any(axis=(1, 2, 3)), marked


@pytest.mark.parametrize("split", WAITS)
@pytest.mark.parametrize("label", LIGHTING, ids=name_of)
def test_the_marked_lamps_last_colour_is_the_class(label: int, split: str) -> None:
    frames = clip_frames(WAITS[split])
    for i in range(2 if WAITS[split] == 1 else 1):
        seen, mark, marked = lamps(label, i, split)
        assert len(seen) == 4 and np.array_equal(np.nonzero(mark)[0], np.arange(frames - MARK, frames))
        ends = set()
        for lit in seen:
            flashes = runs(lit)
            assert len({colour for colour, _, _ in flashes}) == len(flashes) == 2, "each lamp, once in each colour"
            assert all(last - first + 1 >= STRIDE for _, first, last in flashes)
            ends.add(flashes[-1][2])
        assert runs(seen[marked])[-1][0] == name_of(label).split()[2]
        assert np.nonzero(mark)[0][0] - max(ends) > WAITS[split] * WAIT, "nothing is lit during the wait"


@pytest.mark.slow
def test_in_validation_only_the_place_tells_the_last_colour() -> None:
    """Nothing that can be counted tells: not the lamps that end in a colour, nor the marked place, nor the lamp that is last."""
    places, latest = Counter(), []
    for i in range(30):
        seen, _, marked = lamps(LIGHTING[i % 2], 100 + i, "val")
        flashes = [runs(lit) for lit in seen]
        assert set(Counter(lamp[-1][0] for lamp in flashes).values()) == {2}, "two lamps end in each colour"
        last = max(lamp[-1][2] for lamp in flashes)
        latest += [lamp[-1][0] == flashes[marked][-1][0] for lamp in flashes if lamp[-1][2] == last]
        places[marked] += 1
    assert 0.3 < np.mean(latest) < 0.7
    assert len(places) == 4 and max(places.values()) < 16


@pytest.mark.slow
def test_in_training_counting_the_last_colours_is_right_in_two_clips_of_three() -> None:
    """(1/8 all four alike) + (3/8 three) + (3/8 two, a coin) = 11/16: what a network can learn before it knows places."""
    right = []
    for i in range(60):
        seen, _, marked = lamps(LIGHTING[i % 2], 200 + i, "train")
        ends = [runs(lit)[-1][0] for lit in seen]
        alike = ends.count(ends[marked])
        right.append({2: 0.5}.get(alike, float(alike > 2)))
    assert abs(np.mean(right) - 11 / 16) < 0.15
    assert 0 in right, "some clips have fewer lamps of the marked one's colour"


def sampled(wait: int) -> list[np.ndarray]:
    """The frames that validation samples at this length, and every choice that training has: a start at one of four frames."""
    at = np.arange(samples(wait)) * STRIDE
    validation = dense_indices(clip_frames(wait), samples(wait), samples(wait) * STRIDE)
    assert np.array_equal(validation, at + 1) and clip_frames(wait) == at[-1] + STRIDE + STRIDE - 1
    return [validation, *(at + start for start in range(STRIDE))]


@pytest.mark.parametrize("wait", LENGTHS)
def test_sampling_sees_each_flash_and_the_mark(wait: int) -> None:
    validation, *trainings = sampled(wait)
    assert set(np.diff(validation)) == {STRIDE}, "the same stride at every length"
    for label in LIGHTING:
        seen, mark, _ = lamps(label, 3, split_of(wait))
        for lit in seen:
            flashes = runs(lit)
            assert all(np.isin(np.arange(first, last + 1), validation).any() for _, first, last in flashes)
            for drawing in trainings:
                assert all(np.isin(np.arange(a, b + 1), drawing).any() for _, a, b in flashes)
        assert all(mark[indices].sum() >= 1 for indices in (validation, *trainings))


def subjects(scene: Scene, order: np.ndarray) -> list[Pixels]:
    """Each subject alone before black, in the clip's order; what lies in front of it hides it."""
    things = scene.things[-scene.subjects :]
    alone = []
    for i, thing in enumerate(things):
        front = [replace(t, sprite=t.sprite * np.array([0, 0, 0, 1], dtype=np.uint8)) for t in things[i + 1 :]]
        alone.append(render(replace(scene, world=np.zeros_like(scene.world), things=(thing, *front)))[order])
    return alone


@pytest.mark.slow
@pytest.mark.parametrize("wait", LENGTHS)
@pytest.mark.parametrize("label", HIDING, ids=name_of)
def test_a_hidden_thing_is_where_its_last_way_led(label: int, wait: int) -> None:
    side = {"left": -1, "right": 1}[name_of(label).split()[-2]]
    for i in range(2 if wait == 1 else 1):
        scene, order = drawn(label, i, split_of(wait))
        thing, left, right = subjects(scene, order)
        area = (thing.max(axis=-1) > 40).sum(axis=(1, 2))
        seen = area > 0
        assert not seen[[0, BLOCK - 1, BLOCK]].any() and not seen[2 * BLOCK - 1 :].any(), "hidden between its ways"
        ways = []
        for begin in (0, BLOCK):
            at = begin + np.nonzero(seen[begin : begin + BLOCK])[0]
            middles = [np.nonzero(thing[t].max(axis=-1) > 40)[1].mean() - 36 for t in (at[0], at[-1])]
            ways.append(int(np.sign(middles[1] - middles[0])))
            assert middles[0] * middles[1] < 0 and abs(middles[1] - middles[0]) > 14
            # clearly seen by every sampling: half of it or more
            clear = begin + np.nonzero(area[begin : begin + BLOCK] > area.max() / 2)[0]
            assert all(np.isin(clear, indices).any() for indices in sampled(wait))
            for indices in sampled(wait):  # where each sees it last tells the screen
                latest = max(at[np.isin(at, indices)])
                assert np.sign(np.nonzero(thing[latest].max(axis=-1) > 40)[1].mean() - 36) == ways[-1]
        assert ways == [-side, side]
        bare = replace(scene, things=scene.things[: -scene.subjects] + scene.things[-2:])
        whole, without = render(scene)[order], render(bare)[order]
        assert np.array_equal(whole[2 * BLOCK :], without[2 * BLOCK :]), "nothing of it is seen during the wait"
        for screen in (left, right):
            assert (screen.max(axis=-1) > 15).any(axis=0).sum() > 500


@pytest.mark.parametrize("wait", LENGTHS)
@pytest.mark.parametrize("label", SHOWING, ids=name_of)
def test_two_things_are_shown_in_the_order_of_the_name_with_the_wait_between(label: int, wait: int) -> None:
    first, second = (part.split()[-1] for part in name_of(label).split(", then "))
    for i in range(3 if wait == 1 else 1):
        scene, order = drawn(label, i, split_of(wait))
        times = {}
        for thing, frames in zip(scene.things[-scene.subjects :], subjects(scene, order), strict=True):
            middle = thing.sprite[thing.sprite.shape[0] // 2, thing.sprite.shape[1] // 2, :3].astype(int)
            colour = min(COLOURS, key=lambda c: int(np.abs(middle - np.array(COLOURS[c])).sum()))
            assert not frames[[0, -1]].any(), "neither the first frame nor the last one tells"
            times[colour] = np.nonzero((frames.max(axis=-1) > 40).sum(axis=(1, 2)) > 60)[0]
        assert set(times) == {first, second}
        assert times[second][0] - times[first][-1] > wait * WAIT
        assert all(np.isin(t, indices).any() for t in times.values() for indices in sampled(wait))


def test_four_times_the_wait_is_out_of_reach_of_four_shifts() -> None:
    """TSM with four shifts sees four samples to each side: a window of nine holds a cue and the mark in training, and at twice the wait."""
    window = 2 * 4 * STRIDE
    assert 2 * WAIT < window <= 4 * WAIT


def test_lamps_read_at_the_networks_resolution_give_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network gets of the sampled frames is enough: cropped to its size, a lamp's middle still has its colour."""
    monkeypatch.chdir(ROOT)
    cfg = load_config("params/memory.yaml").data
    for label in LIGHTING:
        scene, order = drawn(label, 5, "val")
        frames = torch.from_numpy(render(scene)[order][sampled(1)[0]])
        small = centre_crop(frames.permute(0, 3, 1, 2), cfg.image_size, cfg.short_side).permute(0, 2, 3, 1).numpy()
        halo = scene.things[-scene.subjects]
        x, y = (int(c[-1] / 16 * cfg.short_side / 72 + cfg.image_size / 2) for c in (halo.x, halo.y))
        distances = {c: np.abs(small[:, y, x].astype(int) - np.array(COLOURS[c])).sum(axis=1) for c in LIT}
        nearest = [min(LIT, key=lambda c: distances[c][t]) for t in range(len(small))]
        lit = [c for t, c in enumerate(nearest) if distances[c][t] < 90]
        assert lit[-1] == name_of(label).split()[2]


# --- pixels and files ----------------------------------------------------------------------------------------------------

GOLDEN = {
    "Hiding something behind the left screen": "(35, 72, 72, 3) 8c9ad4128582a9cc",
    "Lighting something blue last, then marking it": "(35, 72, 72, 3) 254539653e6aef48",
    "Showing something green, then something yellow": "(35, 72, 72, 3) 917a727ad3662775",
}


@pytest.mark.parametrize("label", [a for a in LABELS if a < MEMORY.partner[a]], ids=name_of)
def test_pixels_are_the_same_on_every_machine(label: int) -> None:
    frames = render_clip(label, (0, 0, label, 0), SPEC)
    found = f"{frames.shape} {hashlib.sha256(frames.tobytes()).hexdigest()[:16]}"
    assert found == GOLDEN[name_of(label)], "if the pixels were meant to change, raise GENERATOR_VERSION with these"


def test_validation_clips_have_their_own_seeds_partners_share_training_scenes_and_mini_keeps_its_own() -> None:
    seeds = [(split, clip_seed(SPEC, split, label, index)) for split in WAITS for label in LABELS for index in range(3)]
    alone, shared = ([seed for split, seed in seeds if (split == "train") is paired] for paired in (False, True))
    assert len(set(alone)) == len(alone) and set(Counter(shared).values()) == {2}
    assert not set(alone) & set(shared)
    for label in LABELS:  # in training, a scene shows itself in both orders, so it does not tell its class
        assert clip_seed(SPEC, "train", label, 0) == clip_seed(SPEC, "train", MEMORY.partner[label], 0)
    assert [clip_seed(MiniSpec(), split, 3, 4) for split in SPLITS] == [(0, 0, 3, 4), (0, 1, 3, 4)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set as the command line makes it, with few clips."""
    out = tmp_path_factory.mktemp("set") / "memory"
    options = ["--train-per-class", "8", "--val-per-class", "4", "--workers", "1"]
    assert main(["prepare", "memory", "--out", str(out), *options]) == 0
    return out


@pytest.mark.slow
def test_a_set_of_the_older_generator_is_refused(made: Path, tmp_path: Path) -> None:
    older = tmp_path / "memory"
    older.mkdir()
    found = json.loads((made / "mini.json").read_text(encoding="utf-8"))
    (older / "mini.json").write_text(json.dumps(found | {"generator_version": 1}))
    options = ["--train-per-class", "8", "--val-per-class", "4"]
    assert main(["prepare", "memory", "--out", str(older), *options]) == 2
    assert main(["prepare", "memory", "--out", str(made), *options]) == 0, "its own is whole"


@pytest.mark.slow
def test_every_list_is_balanced_and_its_clips_wait_as_it_says(made: Path) -> None:
    assert (made / "classes.txt").read_text(encoding="utf-8").splitlines() == list(MEMORY.classes)
    assert {file.stem for file in made.glob("*.csv")} == set(WAITS)
    for split, wait in WAITS.items():
        with open(made / f"{split}.csv", encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        expected = dict.fromkeys(LABELS, 4)
        if split == "train":
            expected = dict.fromkeys(LIGHTING, 4) | dict.fromkeys(HIDING, 8) | dict.fromkeys(SHOWING, 2)
        assert Counter(int(label) for _, label, _ in rows) == expected
        assert {int(frames) for _, _, frames in rows} == {clip_frames(wait)}
        assert all(path.startswith(f"{split}/{name_of(int(label))}/") for path, label, _ in rows)


@pytest.mark.slow
@pytest.mark.parametrize("split", WAITS)
def test_the_recipe_reads_every_list_at_one_stride(made: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the lengths that experiments/memory.py asks for."""
    monkeypatch.chdir(ROOT)
    T = samples(WAITS[split])
    lengths = f"data.num_frames={T} data.dense_span={T * STRIDE}"
    cfg = load_config("params/memory.yaml", f"data.root={made / 'frames'} {lengths}").data
    clips = read_list(made / f"{split}.csv", Path(cfg.root), made / "classes.txt")
    frames, t, label, row = ClipDataset(clips, cfg, train=False)[0, 3]
    assert frames.shape == (T, 3, cfg.image_size, cfg.image_size) and (label, row) == (int(clips.labels[3]), 3)
    assert t.diff().numpy() == pytest.approx(1, abs=1e-5)
