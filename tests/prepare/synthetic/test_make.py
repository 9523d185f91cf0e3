"""The mini data set: its labels are true, only the order of frames decides, and every machine makes the same pixels."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from hitagu_lib.errors import ConfigError, ListError
from hitagu_lib.media.ffmpeg import ffmpeg_path
from hitagu_lib.prepare.extract import extract_video
from hitagu_lib.prepare.synthetic.looks import MIN_CONTRAST, draw_colour, draw_world, luma
from hitagu_lib.prepare.synthetic.make import (
    CLASSES,
    HFLIP,
    PARTNER,
    SPLITS,
    MiniSpec,
    clip_scene,
    clip_seed,
    prepare_mini,
    render_clip,
    write_videos,
)
from hitagu_lib.prepare.synthetic.raster import Pixels, polygon_mask, render, smooth_field
from hitagu_lib.prepare.synthetic.scenes import MAX_FRAMES, MIN_FRAMES, progress

SPEC = MiniSpec()
TINY = MiniSpec(train_per_class=2, val_per_class=1)
LUMA = np.array([0.299, 0.587, 0.114])

# --- classes ---------------------------------------------------------------------------------------------------------

BACKWARDS = {
    "Approaching something with your camera": "Moving away from something with your camera",
    "Covering something with something": "Uncovering something",
    "Moving something and something away from each other": "Moving something and something closer to each other",
    "Moving something down": "Moving something up",
    "Pushing something from left to right": "Pushing something from right to left",
    "Spinning something clockwise": "Spinning something counter-clockwise",
    "Turning the camera left while filming something": "Turning the camera right while filming something",
}
MIRRORED = {
    "Pushing something from left to right": "Pushing something from right to left",
    "Spinning something clockwise": "Spinning something counter-clockwise",
    "Turning the camera left while filming something": "Turning the camera right while filming something",
}


def test_classes_are_sorted_names_that_any_file_system_takes() -> None:
    assert list(CLASSES) == sorted({*BACKWARDS, *BACKWARDS.values()})
    for name in CLASSES:
        assert not re.search(r'[<>:"/\\|?*,]|[. ]$', name)


def test_partner_and_hflip_do_what_their_names_say() -> None:
    both_ways = BACKWARDS | {b: a for a, b in BACKWARDS.items()}
    assert {CLASSES[a]: CLASSES[b] for a, b in enumerate(PARTNER)} == both_ways
    both_ways = MIRRORED | {b: a for a, b in MIRRORED.items()}
    assert {CLASSES[a]: CLASSES[b] for a, b in enumerate(HFLIP) if a != b} == both_ways
    for a in range(len(CLASSES)):
        assert PARTNER[PARTNER[a]] == a and HFLIP[HFLIP[a]] == a
        assert PARTNER[HFLIP[a]] == HFLIP[PARTNER[a]]


# --- what a clip shows: read off the pixels ----------------------------------------------------------------------------


def parts(label: int, seed: tuple[int, ...]) -> tuple[list[Pixels], Pixels]:
    """Take a clip apart: return each subject alone on black, and the world without things, both in the clip's order."""
    scene, order = clip_scene(label, seed, SPEC)
    black = np.zeros_like(scene.world)
    subjects = scene.things[-scene.subjects :]
    shown = []
    for i, subject in enumerate(subjects):
        # Subjects in front hide it, as in the clip: they are drawn as black silhouettes.
        front = [replace(t, sprite=t.sprite * np.array([0, 0, 0, 1], dtype=np.uint8)) for t in subjects[i + 1 :]]
        shown.append(render(replace(scene, world=black, things=(subject, *front))))
    world = render(replace(scene, things=()))
    return [clip[order] for clip in shown], world[order]


def eight(clip: Pixels) -> Pixels:
    """Return what the network sees: the middle 64 x 64 pixels of the middle frames of eight equal segments."""
    at = [(2 * i + 1) * len(clip) // 16 for i in range(8)]
    return clip[at, 4:68, 4:68]


def area_and_centre(frame: Pixels) -> tuple[float, np.ndarray]:
    mask = frame.any(axis=-1)
    rows, columns = np.nonzero(mask)
    return float(mask.sum()), np.array([columns.mean(), rows.mean()]) if mask.any() else np.zeros(2)


def shift_right(first: Pixels, second: Pixels) -> int:
    """Return how many pixels the picture has moved to the right: the best match of its luma over -16..16."""
    a, b = first @ LUMA, second @ LUMA
    width = a.shape[1]

    def mismatch(shift: int) -> float:
        left, right = a[:, max(0, -shift) : width - max(0, shift)], b[:, max(0, shift) : width - max(0, -shift)]
        return float(np.abs(left - right).mean())

    return min(range(-16, 17), key=mismatch)


def turn_clockwise(first: Pixels, second: Pixels) -> int:
    """Return by how many degrees a thing has turned: the best match of its colours along rays from its middle."""

    def rays(frame: Pixels) -> np.ndarray:
        _, (x, y) = area_and_centre(frame)
        angle = np.deg2rad(np.arange(0, 360, 5))[:, None]
        radius = np.arange(2, 15)[None, :]
        rows = np.clip(np.rint(y + radius * np.sin(angle)).astype(int), 0, frame.shape[0] - 1)
        columns = np.clip(np.rint(x + radius * np.cos(angle)).astype(int), 0, frame.shape[1] - 1)
        return frame[rows, columns].astype(float)  # (72, 13, 3); the angle grows clockwise, since y points down

    a, b = rays(first), rays(second)
    return 5 * min(range(-30, 31), key=lambda k: float(np.abs(np.roll(a, k, axis=0) - b).mean()))


def read(subjects: list[Pixels], world: Pixels) -> str:
    """Return the class of a clip from plain measurements, without knowledge of how it was made."""
    pan = sum(shift_right(a, b) for a, b in pairwise(world))
    if abs(pan) > 20:
        return f"Turning the camera {'left' if pan > 0 else 'right'} while filming something"
    (area, start), (last_area, end) = area_and_centre(subjects[0][0]), area_and_centre(subjects[0][-1])
    if min(area, last_area) == 0:
        return "Uncovering something" if area == 0 else "Covering something with something"
    if len(subjects) == 2:
        gaps = [np.linalg.norm(area_and_centre(a)[1] - area_and_centre(b)[1]) for a, b in zip(*subjects, strict=True)]
        assert abs(gaps[0] - gaps[-1]) > 8
        way = "closer to" if gaps[-1] < gaps[0] else "away from"
        return f"Moving something and something {way} each other"
    if not 1 / 2 < last_area / area < 2:
        return (
            "Approaching something with your camera"
            if last_area > area
            else "Moving away from something with your camera"
        )
    x, y = end - start
    if abs(x) > 24 and abs(x) > 2 * abs(y):
        return f"Pushing something from {'left to right' if x > 0 else 'right to left'}"
    if abs(y) > 24 and abs(y) > 2 * abs(x):
        return f"Moving something {'down' if y > 0 else 'up'}"
    assert abs(x) < 9 and abs(y) < 9  # half a turn of a lopsided thing moves its middle; things that move go beyond 24
    turn = sum(turn_clockwise(a, b) for a, b in pairwise(subjects[0]))
    assert abs(turn) > 120
    return f"Spinning something {'clockwise' if turn > 0 else 'counter-clockwise'}"


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_labels_are_true_of_the_pixels_also_reversed_and_mirrored(label: int) -> None:
    for i in range(4):
        subjects, world = parts(label, (7, 0, label, i))
        subjects, world = [eight(s) for s in subjects], eight(world)
        reversed_ = [s[::-1] for s in subjects], world[::-1]
        mirrored = [s[:, :, ::-1] for s in subjects], world[:, :, ::-1]
        assert read(subjects, world) == CLASSES[label], i
        assert read(*reversed_) == CLASSES[PARTNER[label]], i
        assert read(*mirrored) == CLASSES[HFLIP[label]], i


# --- order alone decides -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [a for a in range(len(CLASSES)) if a < PARTNER[a]], ids=lambda a: CLASSES[a])
def test_a_class_is_its_partner_played_backwards_bit_for_bit(label: int) -> None:
    """All clips have independent seeds. So the set of a clip's frames has the same distribution under both labels of a pair,
    and no method that ignores order can do better than chance."""
    for seed in ((0, 0, 3, 1), (5, 1, 2, 40)):
        one, other = render_clip(label, seed, SPEC), render_clip(PARTNER[label], seed, SPEC)
        assert np.array_equal(one, other[::-1])
        assert not np.array_equal(one, other)


@pytest.mark.usefixtures("each_ffmpeg")
def test_encoding_keeps_partners_equal_byte_for_byte(tmp_path: Path) -> None:
    """A frame's position in the clip leaves no trace in its JPEG: the partner has the same files in the opposite order."""
    files = {}
    for label in (CLASSES.index("Uncovering something"), CLASSES.index("Covering something with something")):
        video = tmp_path / f"{label}.mp4"
        write_videos({video: render_clip(label, (0, 0, 0, 0), SPEC)}, ffmpeg_path())
        extract_video(video, tmp_path / f"{label}")
        files[label] = [file.read_bytes() for file in sorted((tmp_path / f"{label}").glob("*.jpg"))]
    one, other = files.values()
    assert len(one) >= MIN_FRAMES
    assert one == other[::-1]


def test_each_clip_of_the_data_set_has_its_own_seed() -> None:
    seeds = [
        clip_seed(SPEC, split, label, index)
        for split, count in zip(SPLITS, (SPEC.train_per_class, SPEC.val_per_class), strict=True)
        for label in range(len(CLASSES))
        for index in range(count)
    ]
    states = {tuple(np.random.SeedSequence(list(seed)).generate_state(4)) for seed in seeds}
    assert len(states) == len(seeds) == 14 * 150


def test_progress_rises_from_0_to_1_within_its_share_of_the_clip() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
        p = progress(rng, frames)
        assert p[0] == 0 and p[-1] == pytest.approx(1) and (np.diff(p) >= 0).all()
        assert np.diff(p).max() < 3 / (0.6 * frames)  # no jump: at most three times the pace of the shortest event
        assert ((p > 0) & (p < 1)).sum() >= 0.6 * (frames - 1) - 2


# --- looks -------------------------------------------------------------------------------------------------------------

GOLDEN = {
    "Approaching something with your camera": "(32, 72, 72, 3) 53e3a28c48402072",
    "Covering something with something": "(29, 72, 72, 3) 6e18534a68e33ec6",
    "Moving something and something away from each other": "(33, 72, 72, 3) 96dd58586eb245ab",
    "Moving something down": "(36, 72, 72, 3) e72baf87b3558a4d",
    "Pushing something from left to right": "(25, 72, 72, 3) a3d95a55d6c3d4f3",
    "Spinning something clockwise": "(35, 72, 72, 3) c74c435af7961f88",
    "Turning the camera left while filming something": "(32, 72, 72, 3) b3f76de009326a5a",
}


@pytest.mark.parametrize("label", [a for a in range(len(CLASSES)) if a < PARTNER[a]], ids=lambda a: CLASSES[a])
def test_pixels_are_the_same_on_every_machine(label: int) -> None:
    frames = render_clip(label, (0, 0, label, 0), SPEC)
    assert frames.dtype == np.uint8 and frames.flags.c_contiguous
    found = f"{frames.shape} {hashlib.sha256(frames.tobytes()).hexdigest()[:16]}"
    assert found == GOLDEN[CLASSES[label]], "if the pixels were meant to change, raise GENERATOR_VERSION with these"


def test_colours_stand_out_from_the_ground() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        _, ground = draw_world(rng, 24, 32, 1.0)
        body = draw_colour(rng, ground, taken=())
        assert abs(luma(body) - luma(ground)) >= MIN_CONTRAST


@pytest.mark.slow
def test_things_stand_out_on_the_screen() -> None:
    """The mean difference in luma between a thing, with its marks and rim, and what it hides is at least 25 of 255, in the
    first frame that shows it well."""
    for label in range(len(CLASSES)):
        for i in range(6):
            scene, _ = clip_scene(label, (3, 0, label, i), SPEC)
            bare = render(replace(scene, things=())) @ LUMA
            for thing in scene.things[-scene.subjects :]:
                shown = render(replace(scene, things=(thing,))) @ LUMA
                stencil = replace(thing, sprite=np.repeat(thing.sprite[..., 3:], 4, axis=-1))
                covered = render(replace(scene, world=np.zeros_like(scene.world), things=(stencil,)))[..., 0] > 200
                seen = [t for t in range(len(covered)) if covered[t].sum() > 30]
                assert seen
                contrast = np.abs(shown - bare)[seen[0]][covered[seen[0]]].mean()
                assert contrast >= MIN_CONTRAST / 2, (label, i)


def test_lengths_sizes_and_bad_labels() -> None:
    lengths = {len(render_clip(0, (1, 0, 0, i), SPEC)) for i in range(40)}
    assert lengths <= set(range(MIN_FRAMES, MAX_FRAMES + 1)) and len(lengths) > 6
    assert render_clip(3, (0, 0, 3, 0), MiniSpec(width=64, height=80)).shape[1:] == (80, 64, 3)
    with pytest.raises(ConfigError, match="found 14, expected 0 to 13"):
        render_clip(14, (0, 0, 0, 0), SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_per_class": 0}, "train_per_class: found 0; expected from 1 to 99999"),
        ({"val_per_class": 2.0}, "val_per_class: found 2.0 (float); expected int"),
        ({"width": 95}, "found 95 x 72; expected even sizes"),
        ({"seed": -1}, "seed: found -1; expected from 0 to 4294967295"),
    ],
)
def test_a_bad_spec_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        MiniSpec(**change)  # type: ignore[arg-type]


# --- the rasteriser, against plain loops ---------------------------------------------------------------------------------


def test_polygon_mask_covers_the_area_of_the_polygon() -> None:
    triangle = np.array([[-6.0, -5.0], [7.0, -2.0], [0.0, 7.5]])
    (x1, y1), (x2, y2), (x3, y3) = triangle
    area = abs((x2 - x1) * (y3 - y1) - (x3 - x1) * (y2 - y1)) / 2
    mask = polygon_mask(triangle, 20)
    assert mask.sum() / 255 == pytest.approx(area, rel=0.02)
    assert mask[10, 10] == 255 and mask[0].max() == 0
    assert np.array_equal(mask, polygon_mask(triangle[::-1], 20))


def test_background_is_a_bilinear_look_up() -> None:
    scene, _ = clip_scene(CLASSES.index("Approaching something with your camera"), (0, 0, 0, 0), SPEC)
    frames = render(replace(scene, things=()))
    world = scene.world.astype(float)
    for t in (0, len(frames) // 2, len(frames) - 1):
        for i, j in ((0, 0), (35, 50), (71, 71)):
            step = scene.step[t] / 1024
            y = scene.camera_y[t] / 16 + step * (i + 0.5 - 36) + world.shape[0] / 2 - 0.5
            x = scene.camera_x[t] / 16 + step * (j + 0.5 - 36) + world.shape[1] / 2 - 0.5
            (r, v), (c, u) = divmod(y, 1), divmod(x, 1)
            corners = world[int(r) : int(r) + 2, int(c) : int(c) + 2]
            exact = (corners[0, 0] * (1 - u) + corners[0, 1] * u) * (1 - v) + (
                corners[1, 0] * (1 - u) + corners[1, 1] * u
            ) * v
            # Positions are rounded down to 1/16 pixel, and so are the colours to whole numbers.
            slope = np.abs(np.diff(corners, axis=0)).max() + np.abs(np.diff(corners, axis=1)).max()
            assert np.abs(frames[t, i, j] - exact).max() <= slope / 16 + 1


def test_smooth_field_meets_its_lattice() -> None:
    field = smooth_field(np.random.default_rng(3), 30, 41, 10)
    lattice = np.floor(np.random.default_rng(3).random((5, 6)) * 256)
    assert np.array_equal(field[::10, ::10], lattice[:3, :5])
    assert field.shape == (30, 41) and np.abs(np.diff(field, axis=0)).max() < 60


# --- the data set on disk ------------------------------------------------------------------------------------------------


def digests(root: Path) -> dict[str, str]:
    """Return path below `root` -> SHA-256, of every file that is not hidden."""
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    return {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def made_by_ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ffmpeg") / "mini"
    prepare_mini(out, TINY, workers=2, progress=False)
    return out


@pytest.fixture(scope="module")
def made_without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pillow") / "mini"
    prepare_mini(out, TINY, use_ffmpeg=False, workers=1, progress=False)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("which", ["made_by_ffmpeg", "made_without"])
def test_the_set_is_balanced_and_holds_the_clips_it_should(which: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(which)
    assert (out / "classes.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    assert json.loads((out / "mini.json").read_text(encoding="utf-8"))["train_per_class"] == 2
    assert (out / "videos").exists() == (which == "made_by_ffmpeg")
    for split, count in (("train", 2), ("val", 1)):
        with open(out / f"{split}.csv", encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        assert Counter(int(label) for _, label, _ in rows) == dict.fromkeys(range(14), count)
        for path, label, frames in rows:
            assert path.startswith(f"{split}/{CLASSES[int(label)]}/")
            names = [file.name for file in sorted((out / "frames" / path).glob("*.jpg"))]
            assert names == [f"{i:06d}.jpg" for i in range(1, int(frames) + 1)]
            index = int(path.rsplit("_", 1)[1])
            drawn = render_clip(int(label), clip_seed(TINY, split, int(label), index), TINY)
            assert len(drawn) == int(frames)
            for t in (0, len(drawn) - 1):
                shown = np.asarray(Image.open(out / "frames" / path / names[t])).astype(float)
                assert np.sqrt(((shown - drawn[t]) ** 2).mean()) < 8  # of 255: the loss of encoding


@pytest.mark.slow
def test_a_complete_set_is_left_alone_and_half_a_set_is_finished(made_without: Path, tmp_path: Path) -> None:
    whole = digests(made_without)
    before = {file: file.stat().st_mtime_ns for file in made_without.rglob("*")}
    prepare_mini(made_without, TINY, use_ffmpeg=False, progress=False)
    assert {file: file.stat().st_mtime_ns for file in made_without.rglob("*")} == before

    half = tmp_path / "mini"
    shutil.copytree(made_without, half)
    (half / "mini.json").rename(half / "mini.unfinished.json")
    (half / "val.csv").unlink()
    gone = half / "frames" / "train" / CLASSES[4] / "04_00001"
    gone.rename(gone.with_name(".04_00001.tmp"))  # a killed run leaves it like this
    (gone.with_name(".04_00001.tmp") / "000003.jpg").unlink()
    prepare_mini(half, TINY, use_ffmpeg=False, workers=2, progress=False)
    assert digests(half) == whole
    assert not list(half.rglob("*.tmp"))


@pytest.mark.slow
def test_half_made_videos_are_finished(made_by_ffmpeg: Path, tmp_path: Path) -> None:
    whole = digests(made_by_ffmpeg)
    half = tmp_path / "mini"
    shutil.copytree(made_by_ffmpeg, half)
    (half / "mini.json").rename(half / "mini.unfinished.json")
    video = half / "videos" / "train" / CLASSES[4] / "04_00001.mp4"
    video.with_name(".04_00001.mp4.tmp").write_bytes(video.read_bytes()[:100])
    video.unlink()
    shutil.rmtree(half / "frames" / "train" / CLASSES[4] / "04_00001")
    shutil.rmtree(half / "frames" / "val" / CLASSES[5])
    prepare_mini(half, TINY, workers=1, progress=False)
    assert digests(half) == whole


@pytest.mark.slow
def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    second = Thread(
        target=lambda: prepare_mini(tmp_path / "mini", TINY, use_ffmpeg=False, workers=1, progress=False), daemon=True
    )
    with FileLock(tmp_path / "mini" / ".lock"):
        second.start()
        second.join(0.5)
        assert second.is_alive() and [f.name for f in (tmp_path / "mini").iterdir()] == [".lock"]
    second.join(60)
    assert not second.is_alive() and (tmp_path / "mini" / "mini.json").exists()


def test_a_folder_with_anything_else_is_refused(made_without: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ListError, match=r"mini\.json: found a synthetic set with seed 0, expected seed 1\. Remove the folder"
    ):
        prepare_mini(made_without, replace(TINY, seed=1), use_ffmpeg=False, progress=False)

    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(made_without / "mini.json", half / "mini.unfinished.json")
    with pytest.raises(ListError, match="written_by 'pillow', expected written_by 'ffmpeg'"):
        prepare_mini(half, TINY, progress=False)
    (half / "mini.unfinished.json").write_text("{", encoding="utf-8")
    with pytest.raises(ListError, match="found no valid JSON"):
        prepare_mini(half, TINY, progress=False)

    other = tmp_path / "other"
    other.mkdir()
    (other / "train.csv").write_text("mine\n", encoding="utf-8")
    with pytest.raises(ListError, match="found something that is not a synthetic set"):
        prepare_mini(other, TINY, progress=False)
    assert [file.name for file in other.iterdir()] == ["train.csv"]
