"""Which views a protocol uses; scoring them with shared frames equals the plain loop over views."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.io import read_image, write_jpeg

from hitagu_lib import build_model
from hitagu_lib.config import Config, ModelConfig, load_config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.sampling import dense_clips, dense_indices, segment_clips, segment_indices
from hitagu_lib.data.source import open_lists
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.evaluation.multi_view import average_views, score_views, score_views_plainly
from hitagu_lib.evaluation.protocols import Views, crop_corners, protocol, read_views
from hitagu_lib.evaluation.scores import ORDERS, frame_order, reorder_views
from hitagu_lib.models import ClipModel
from hitagu_lib.models.clip_model import reversed_times

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = [(1, 1), (1, 4), (2, 8), (7, 8), (8, 8), (9, 8), (30, 8), (31, 16), (40, 8), (40, 16), (63, 8), (300, 16)]


def config(tiny: Config, **evaluation: object) -> Config:
    return dataclasses.replace(tiny, eval=dataclasses.replace(tiny.eval, **evaluation))


@pytest.mark.parametrize(
    ("N", "T", "clips", "expected"),
    [
        (16, 4, 2, [[0, 4, 8, 12], [3, 7, 11, 15]]),
        (16, 4, 3, [[0, 4, 8, 12], [1, 5, 9, 13], [3, 7, 11, 15]]),
        (10, 4, 2, [[0, 2, 5, 7], [1, 4, 6, 9]]),
        (4, 4, 2, [[0, 1, 2, 3], [0, 1, 2, 3]]),
        (2, 4, 2, [[0, 0, 1, 1], [0, 0, 1, 1]]),
        (16, 4, 1, [[2, 6, 10, 14]]),
    ],
)
def test_clips_of_segments(N: int, T: int, clips: int, expected: list[list[int]]) -> None:
    assert segment_clips(N, T, clips).tolist() == expected


@pytest.mark.parametrize(
    ("N", "T", "clips", "expected"),
    [
        (100, 4, 3, [[0, 16, 32, 48], [25, 41, 57, 73], [51, 67, 83, 99]]),
        (50, 4, 3, [[0, 16, 32, 48], [0, 16, 32, 48], [1, 17, 33, 49]]),
        (20, 4, 2, [[0, 16, 19, 19], [0, 16, 19, 19]]),
        (100, 4, 1, [[18, 34, 50, 66]]),
    ],
)
def test_clips_of_windows(N: int, T: int, clips: int, expected: list[list[int]]) -> None:
    assert dense_clips(N, T, 64, clips).tolist() == expected


@pytest.mark.parametrize(("N", "T"), LENGTHS)
@pytest.mark.parametrize("clips", [1, 2, 10])
def test_clips_stay_in_the_video_never_go_back_and_the_last_one_ends_it(N: int, T: int, clips: int) -> None:
    for found in (segment_clips(N, T, clips), dense_clips(N, T, 64, clips)):
        assert found.shape == (clips, T)
        assert found.min() >= 0 and found.max() < N
        assert (np.diff(found, axis=0) >= 0).all() and (np.diff(found, axis=1) >= 0).all()
        if clips > 1 and N >= T:
            assert found[0, 0] == 0 and found[-1, -1] == N - 1
    assert segment_clips(N, T, 1)[0].tolist() == segment_indices(N, T).tolist()
    assert dense_clips(N, T, 64, 1)[0].tolist() == dense_indices(N, T, 64).tolist()


def test_ten_clips_of_a_video_as_long_as_in_something_something_see_all_its_frames_and_no_more() -> None:
    assert len(np.unique(segment_clips(40, 8, 10))) == len(np.unique(segment_clips(40, 16, 10))) == 40


def test_crops_are_left_middle_right_or_when_upright_top_middle_bottom() -> None:
    assert crop_corners(256, 341, 256, 3) == [(0, 0), (0, 42), (0, 85)]
    assert crop_corners(341, 256, 224, 3) == [(0, 16), (58, 16), (117, 16)]
    assert crop_corners(256, 341, 224, 1) == [(16, 58)]
    assert crop_corners(256, 256, 256, 3) == [(0, 0)] * 3
    assert crop_corners(54, 54, 48, 2) == [(3, 0), (3, 6)]


def test_the_protocols_have_their_published_clips_and_crops(tiny_cfg: Config) -> None:
    def shape(sampling: str, **evaluation: object) -> tuple[str, int, int, int]:
        cfg = config(tiny_cfg, **evaluation)
        found = protocol(dataclasses.replace(cfg.data, sampling=sampling), cfg.eval)
        return found.sampling, found.clips, found.crops, found.crop_size

    assert shape("dense") == shape("segment") == ("segment", 1, 1, 32)
    assert shape("dense", protocol="multi") == ("dense", 10, 3, 36)
    assert shape("segment", protocol="multi") == ("segment", 2, 3, 36)
    assert shape("dense", protocol="tsm_twice") == ("segment", 2, 3, 36)
    assert shape("dense", protocol="multi", clips=4, crops=1) == ("dense", 4, 1, 32)
    assert shape("segment", protocol="multi", crop_size=32) == ("segment", 2, 3, 32)
    twice = protocol(tiny_cfg.data, config(tiny_cfg, protocol="tsm_twice").eval).clip_indices(12)
    assert twice.tolist() == [[2, 6, 10], [0, 4, 8]]


@pytest.mark.parametrize(("recipe", "sampling", "clips"), [("k700", "dense", 10), ("ssv2", "segment", 2)])
def test_recipes_are_evaluated_as_papers_on_their_data_do(recipe: str, sampling: str, clips: int) -> None:
    cfg = load_config(ROOT / "params" / f"{recipe}.yaml")
    found = protocol(cfg.data, cfg.eval)
    assert (found.name, found.sampling, found.clips, found.crops) == ("multi", sampling, clips, 3)
    assert (found.short_side, found.crop_size) == (256, 256)
    single = protocol(cfg.data, dataclasses.replace(cfg.eval, protocol="single"))
    assert (single.clips, single.crops, single.crop_size) == (1, 1, 224), "what --protocol single asks for"


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"clips": 3}, "eval.clips: found 3; expected 1, or eval.protocol: multi instead of single"),
        ({"crops": 3}, "eval.crops: found 3; expected 1, or eval.protocol: multi"),
        ({"protocol": "tsm_twice", "clips": 10}, "eval.clips: found 10; expected 2, or eval.protocol: multi"),
        ({"crop_size": 40}, "eval.crop_size: found 40; expected at most data.short_side = 36"),
    ],
)
def test_numbers_that_would_make_it_another_protocol(
    tiny_cfg: Config, evaluation: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        protocol(tiny_cfg.data, config(tiny_cfg, **evaluation).eval)


def folder_of(path: Path, frames: int, height: int, width: int) -> Path:
    path.mkdir(parents=True)
    noise = torch.randint(0, 256, (frames, 3, height, width), generator=torch.Generator().manual_seed(0))
    for i, frame in enumerate(noise.to(torch.uint8)):
        write_jpeg(frame, str(path / f"{i + 1:06d}.jpg"), quality=95)
    return path


def test_single_sees_what_validation_sees(tiny_cfg: Config) -> None:
    clips = open_lists(tiny_cfg.data)[1]
    frames, t, _, _ = ClipDataset(clips, tiny_cfg.data, train=False)[0, 3]
    views = read_views(clips.frames_dir(3), int(clips.num_frames[3]), protocol(tiny_cfg.data, tiny_cfg.eval))
    assert torch.equal(views.pictures(views.index[0]), frames)
    assert torch.equal(views.t, t[None])


@pytest.mark.parametrize(("height", "width"), [(45, 61), (61, 45), (37, 37), (20, 90)])
def test_each_view_is_its_clip_under_its_crop(tiny_cfg: Config, tmp_path: Path, height: int, width: int) -> None:
    """The reference is a crop of the whole resized clip; sizes are odd, upright, square, and smaller than asked for."""
    folder = folder_of(tmp_path / "v", 5, height, width)
    plan = protocol(tiny_cfg.data, config(tiny_cfg, protocol="multi", crop_size=32).eval)
    views = read_views(folder, 5, plan)
    assert views.index.shape == (6, 3) and views.t.shape == (6, 3)
    middle = views.pictures(views.index[4])  # the second clip, the second crop
    clip = [f"{i + 1:06d}.jpg" for i in plan.clip_indices(5)[1]]
    assert torch.equal(middle, centre_crop(torch.stack([read_image(str(folder / name)) for name in clip]), 32, 36))
    first, last = views.pictures(views.index[3]), views.pictures(views.index[5])
    side, room = (-2, max(views.frames.shape[-2:]) - 32) if height > width else (-1, views.frames.shape[-1] - 32)
    shared = 32 - room // 2  # rows or columns that the first crop and the middle one have in common
    if shared > 0:
        assert torch.equal(first.narrow(side, room // 2, shared), middle.narrow(side, 0, shared))
    assert not torch.equal(first, last)
    assert views.t[3].tolist() == (plan.clip_indices(5)[1] / tiny_cfg.data.ref_stride).tolist()


def test_crops_that_are_one_in_a_square_frame_are_kept_once(tiny_cfg: Config, tmp_path: Path) -> None:
    plan = protocol(tiny_cfg.data, config(tiny_cfg, protocol="multi").eval)
    views = read_views(folder_of(tmp_path / "v", 4, 40, 40), 4, plan)
    assert views.corners == [(0, 0)] and views.index.shape == (6, 3)


def test_a_frame_of_another_size_is_named(tiny_cfg: Config, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "v", 4, 40, 48)
    write_jpeg(torch.zeros(3, 80, 96, dtype=torch.uint8), str(folder / "000003.jpg"))  # equal once it is resized
    plan = protocol(tiny_cfg.data, config(tiny_cfg, protocol="multi", clips=4).eval)
    with pytest.raises(ClipError, match=r"000003\.jpg: found 96x80; expected 48x40 as frame 000001"):
        read_views(folder, 4, plan)


def seeded(cfg: ModelConfig, temporal: str) -> ClipModel:
    """A network whose zero-initialised layers are drawn at random, so that every part contributes."""
    torch.manual_seed(0)
    model = build_model(dataclasses.replace(cfg, temporal=temporal), 5).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def counting(model: ClipModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of frames in every call of `encode_frames`."""
    calls: list[int] = []
    encode: Callable[[Tensor], object] = model.encode_frames
    monkeypatch.setattr(model, "encode_frames", lambda x: (calls.append(len(x)), encode(x))[1])
    return calls


def videos(tiny: Config, tmp_path: Path, lengths: list[int], **evaluation: object) -> list[Views]:
    """Videos of several lengths and shapes."""
    plan = protocol(tiny.data, config(tiny, **evaluation).eval)
    shapes = [(40, 56), (56, 40), (41, 41)]
    return [read_views(folder_of(tmp_path / str(i), N, *shapes[i % 3]), N, plan) for i, N in enumerate(lengths)]


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["hitagu", "tsn", "gru", "tsm"])
@pytest.mark.parametrize("sampling", ["segment", "dense"])
def test_shared_frames_give_the_logits_of_the_plain_loop(
    tiny_cfg: Config, tmp_path: Path, temporal: str, sampling: str
) -> None:
    data = dataclasses.replace(tiny_cfg.data, sampling=sampling, dense_span=9)
    some = videos(dataclasses.replace(tiny_cfg, data=data), tmp_path, [1, 2, 10, 13], protocol="multi", clips=4)
    model = seeded(tiny_cfg.model, temporal)
    one_by_one = [
        torch.cat([score_views_plainly(model, [_only(v, view)], 1)[0] for view in range(len(v.index))]) for v in some
    ]
    spread = torch.cat(one_by_one).std(0).mean()
    assert spread > 1e-3, "views differ in their scores, so that a wrong one would be seen"
    for at_once in (1, 7, 64):
        for found, expected in zip(score_views(model, some, at_once), one_by_one, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        for found, expected in zip(score_views_plainly(model, some, at_once), one_by_one, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["hitagu", "gru", "tsm"])
def test_other_frame_orders_encode_no_further_frame_and_score_as_clips_in_that_order(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporal: str
) -> None:
    """The reference is the whole network on frames ordered one by one; one video has a single frame, one is short."""
    some = videos(tiny_cfg, tmp_path, [13, 1, 2], protocol="multi", clips=3)
    model = seeded(tiny_cfg.model, temporal)
    expected = []
    for row, v in enumerate(some):
        clips = torch.stack([v.pictures(view) for view in v.index])
        for order in ORDERS:
            rng = np.random.default_rng((0, row))
            places = [frame_order(order, 3, rng) for _ in range(3)]  # of each clip, whatever the crop
            mixed = torch.stack([clips[i][torch.from_numpy(places[i // 3].copy())] for i in range(9)])
            t = reversed_times(v.t) if order == "reversed" else v.t
            expected.append(torch.cat([model(normalise(mixed[i : i + 1]), t[i : i + 1]) for i in range(9)]).detach())
    together = []
    for row, v in enumerate(some):
        ordered = [reorder_views(v, order, 3, row) for order in ORDERS]
        index, t = np.concatenate([o.index for o in ordered]), torch.cat([o.t for o in ordered])
        together.append(dataclasses.replace(v, index=index, t=t))
    calls = counting(model, monkeypatch)
    for at_once in (4, 64):
        calls.clear()
        found = torch.cat(score_views(model, together, at_once))
        torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)
        assert sum(calls) == (sum(len(np.unique(v.index)) for v in some) if model.shares_frames else 0)
    by_order = found[:36].unflatten(0, (4, 9))
    assert all((by_order[a] - by_order[b]).abs().max() > 1e-4 for a, b in itertools.combinations(range(4), 2))


def test_the_same_pictures_at_other_times_are_another_view(tiny_cfg: Config, tmp_path: Path) -> None:
    (one,) = videos(tiny_cfg, tmp_path, [9])
    index = np.concatenate([one.index] * 3)
    slower = dataclasses.replace(one, index=index, t=torch.cat([one.t, 3 * one.t, one.t]))
    model = seeded(tiny_cfg.model, "hitagu")
    (found,), (expected,) = score_views(model, [slower]), score_views_plainly(model, [slower])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-4 and torch.equal(found[0], found[2])


def _only(views: Views, view: int) -> Views:
    return dataclasses.replace(views, index=views.index[view : view + 1], t=views.t[view : view + 1])


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 5, 12, 1000])
def test_every_distinct_picture_is_encoded_once_and_few_at_a_time(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    some = videos(tiny_cfg, tmp_path, [10, 7], protocol="multi", clips=10)
    model = seeded(tiny_cfg.model, "hitagu")
    calls, kept = counting(model, monkeypatch), []
    head = model.temporal_head
    monkeypatch.setattr(model, "temporal_head", lambda f, t: (kept.append(len(f.top)), head(f, t))[1])
    score_views(model, some, at_once)
    distinct = sum(len(np.unique(v.index)) for v in some)
    assert distinct == 3 * (10 + 7) < sum(v.index.size for v in some) == 2 * 10 * 3 * 3
    assert sum(calls) == distinct
    assert max(calls) <= at_once and max(kept) <= max(at_once, 3)


def test_views_that_are_the_same_go_through_the_temporal_half_once(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = videos(tiny_cfg, tmp_path, [1], protocol="multi", clips=10)
    model = seeded(tiny_cfg.model, "hitagu")
    calls, head = [], model.temporal_head
    monkeypatch.setattr(model, "temporal_head", lambda f, t: (calls.append(len(t)), head(f, t))[1])
    (logits,) = score_views(model, [one])
    assert sum(calls) == 3, "one frame, three crops"
    assert logits.shape == (30, 5) and torch.equal(logits[:3], logits[27:])


def test_features_are_forgotten_after_their_last_view(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten clips of segments share many frames, but each only with its neighbours."""
    (one,) = videos(tiny_cfg, tmp_path, [60], protocol="multi", clips=10)
    model = seeded(tiny_cfg.model, "tsn")
    sizes: list[int] = []
    join = torch.cat

    def cat(parts: list[Tensor], *args: int) -> Tensor:
        out = join(parts, *args)
        if out.ndim == 4:
            sizes.append(len(out))
        return out

    monkeypatch.setattr("hitagu_lib.evaluation.multi_view.torch.cat", cat)
    score_views(model, [one], 8)
    assert len(np.unique(one.index)) == 3 * 30
    assert all(size <= 8 for size in sizes)


def test_scores_are_averaged_as_asked() -> None:
    logits = torch.tensor([[[4.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]]])
    assert average_views(logits, "logits").tolist() == [[pytest.approx(2 / 3), pytest.approx(2 / 3)]]
    p = torch.softmax(logits[0], dim=1)
    torch.testing.assert_close(average_views(logits, "probabilities"), p.mean(0, keepdim=True))
    assert average_views(logits, "probabilities").argmax() == 1
