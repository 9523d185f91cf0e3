"""The running prediction: which frames it uses at each moment; a stream gives at each frame what forward gives on the prefix."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from media_fixtures import make_clip
from networks import CAUSAL, woken

from hitagu_lib import build_model
from hitagu_lib.config import Config, DataConfig, resolve
from hitagu_lib.data.frames import normalise, read_frames
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.errors import ClipError, ConfigError, WeightsError
from hitagu_lib.inference.predict import load_model
from hitagu_lib.inference.streaming import Stream, predict_along, running_clips
from hitagu_lib.models import ClipModel, FrameFeatures


@pytest.mark.parametrize("sampling", ["segment", "dense"])
@pytest.mark.parametrize("window", [None, 1, 5, 30])
@pytest.mark.parametrize("T", [1, 4, 8])
def test_a_clip_ends_in_its_frame_and_reaches_back_no_further_than_the_window(
    sampling: str, window: int | None, T: int
) -> None:
    cfg = DataConfig(num_frames=T, sampling=sampling, dense_span=16)
    clips = running_clips(70, cfg, window)
    assert clips.shape == (70, T) and (clips[:, -1] == np.arange(70)).all()
    assert (np.diff(clips, axis=1) >= 0).all() and clips.min() == 0
    reach = window or (16 if sampling == "dense" else 70)
    assert (clips[:, 0] > np.arange(70) - reach).all()
    if T == 8 and sampling == "segment" and window is None:
        assert clips[39].tolist() == [4, 9, 14, 19, 24, 29, 34, 39], (
            "the last frame of each segment of the frames so far"
        )


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["hitagu", "tsm"])
@pytest.mark.parametrize("window", [None, 6])
def test_every_moment_equals_its_clip_scored_alone(
    untrained: Path, tmp_path: Path, temporal: str, window: int | None
) -> None:
    """Blocks are small, so that clips need features of several; TSM's frames are encoded clip by clip."""
    model, cfg, classes = load_model(untrained)
    if temporal == "tsm":
        torch.manual_seed(1)
        model = build_model(dataclasses.replace(cfg.model, temporal="tsm"), len(classes)).eval()
    folder = make_clip(tmp_path / "clip", frames=21)
    running = predict_along(folder, 21, model, cfg.data, window=window, frames_at_once=4)
    for n, clip in enumerate(running_clips(21, cfg.data, window)):
        frames = centre_crop(read_frames(folder, clip.tolist()), cfg.data.image_size, cfg.data.short_side)
        t = torch.from_numpy((clip / cfg.data.ref_stride).astype(np.float32))
        with torch.inference_mode():
            logits, maps = model(normalise(frames)[None], t[None], return_maps=True)
        torch.testing.assert_close(running.probabilities[n], logits[0].softmax(0), rtol=0, atol=1e-5)
        if temporal == "tsm":
            assert running.motion_map is None and running.reads is None
        else:
            torch.testing.assert_close(running.motion_map[n], maps.motion_gate[0, -1], rtol=0, atol=1e-5)
            torch.testing.assert_close(running.reads[n], maps.temporal_attention[0].mean(0)[-1], rtol=0, atol=1e-5)


def test_each_frame_goes_through_the_backbone_once(untrained: Path, tmp_path: Path) -> None:
    model, cfg, _ = load_model(untrained)
    folder = make_clip(tmp_path / "clip", frames=11)
    sizes: list[int] = []
    model.backbone.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    predict_along(folder, 11, model, cfg.data, frames_at_once=4)
    assert sizes == [4, 4, 3]


def test_no_more_than_the_window_is_kept(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    joined = FrameFeatures.joined

    def watched(parts: Sequence[FrameFeatures]) -> FrameFeatures:
        both = joined(parts)
        kept.append(len(both.top))
        return both

    monkeypatch.setattr(FrameFeatures, "joined", watched)
    model, cfg, _ = load_model(untrained)
    predict_along(make_clip(tmp_path / "clip", frames=40), 40, model, cfg.data, window=6, frames_at_once=4)
    assert max(kept) <= 6 + 4


def test_the_tiny_model_has_something_to_draw(tiny_cfg: Config, untrained: Path) -> None:
    """Otherwise the equalities above would compare constants."""
    model, cfg, _ = load_model(untrained)
    folder = next((Path(tiny_cfg.data.root) / "val").glob("*/*"))
    running = predict_along(folder, 20, model, cfg.data)
    assert running.motion_map.std() > 1e-4 and running.reads[-1].std() > 1e-4
    assert running.probabilities.std(0).max() > 1e-4


# A stream of a causal network

NETWORKS = {
    "hitagu": {},
    "banded unit, last": {
        "stu": {"width": 24, "whole_frame": True, "bands": True, "broadcast": "none"},
        "readout": "last",
    },
    "both": {"readout": "both"},
    "memory": {"readout": "memory"},
    "gru at each position": {"stu": {"width": 24, "gru": True}},
    "no attention": {"attention": {"sca": False, "tsa": False}},
    "tsn": {"temporal": "tsn"},
    "tsm": {"temporal": "tsm"},
    "gru": {"temporal": "gru"},
}
each_network = pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)


def causal(**changes: object) -> ClipModel:
    return woken(resolve({"model": CAUSAL | changes}).model)


def videos(B: int = 2, T: int = 7, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (B, T, 3, 32, 32), and odd times (B, T) in reference strides."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, 3, 32, 32, generator=random), (0.1 + 3 * torch.rand(B, T, generator=random)).cumsum(1)


def every_prefix(model: ClipModel, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(x, t, every_prefix=True)


@each_network
def test_a_stream_gives_what_forward_gives_on_the_prefix(changes: dict) -> None:
    """At odd times that do not start at 0, for more frames than TSA's window; again after a reset."""
    model, (x, t) = causal(**changes), videos()
    stream = Stream(model, seconds_per_stride=0.25)
    for _ in range(2):
        streamed = torch.stack([stream.step(x[:, n], 100 + 0.25 * t[:, n].double()) for n in range(7)], dim=1)
        for n in range(7):
            with torch.inference_mode():
                expected = model(x[:, : n + 1], t[:, : n + 1])
            torch.testing.assert_close(streamed[:, n], expected, rtol=0, atol=1e-5)
        stream.reset()


@each_network
def test_streams_of_different_age_do_not_disturb_each_other(changes: dict) -> None:
    """The second of three streams begins anew after three frames, at an earlier time."""
    model, (x, t) = causal(**changes), videos(3)
    stream, rows = Stream(model), []
    for n in range(7):
        if n == 3:
            stream.reset(torch.tensor([1]))
            assert stream.state["age"].tolist() == [3, 0, 3]
        seconds = t[:, n].double()
        seconds[1] -= 50 * (n >= 3)
        rows.append(stream.step(x[:, n], seconds))
    streamed = torch.stack(rows, dim=1)
    old = every_prefix(model, x, t)
    torch.testing.assert_close(streamed[[0, 2]], old[[0, 2]], rtol=0, atol=1e-5)
    torch.testing.assert_close(streamed[1, :3], old[1, :3], rtol=0, atol=1e-5)
    torch.testing.assert_close(streamed[1:2, 3:], every_prefix(model, x[1:2, 3:], t[1:2, 3:]), rtol=0, atol=1e-5)
    assert not torch.allclose(streamed[1, 3:], old[1, 3:], atol=1e-3), "the reset made a difference"


@each_network
def test_a_stream_is_put_away_and_taken_up(changes: dict, tmp_path: Path) -> None:
    model, (x, t) = causal(**changes), videos()
    stream = Stream(model)
    for n in range(4):
        stream.step(x[:, n], t[:, n])
    torch.save(stream.state_dict(), tmp_path / "stream.pt")
    again = Stream(model)
    put_away = torch.load(tmp_path / "stream.pt", weights_only=True)
    again.load_state_dict(dict(reversed(put_away.items())) | {"state": dict(reversed(put_away["state"].items()))})
    assert repr(again) == repr(stream)
    for n in range(4, 7):
        assert torch.equal(again.step(x[:, n], t[:, n]), stream.step(x[:, n], t[:, n]))


def test_the_state_has_a_fixed_number_of_bytes_which_is_printed() -> None:
    model, (x, t) = causal(), videos(1, 40)
    stream = Stream(model)
    assert repr(stream) == "Stream: no frame yet" and stream.num_bytes == 0
    sizes = set()
    for n in range(40):
        stream.step(x[0, n], float(t[0, n]))
        sizes.add(stream.num_bytes)
    mde, stu, tsa = 8 * (8 * 8 + 4 * 4), 3 * 24 * 4 * 4, 2 * 2 * 16 + 2
    assert sizes == {8 + 4 * (128 + mde + stu + tsa)}
    assert repr(stream) == (
        f"Stream: frames seen 40; {stream.num_bytes:,} bytes "
        f"(age 8, head 512, mde {4 * mde:,}, stu {4 * stu:,}, tsa {4 * tsa:,})"
    )


def test_a_stream_takes_pixels_too() -> None:
    model = causal()
    pixels = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Stream(model).step(pixels, 0.0), Stream(model).step(normalise(pixels), 7.0))


def test_pixels_take_the_networks_precision() -> None:
    pixels = torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert Stream(causal().bfloat16()).step(pixels, 0.0).dtype == torch.bfloat16


def test_a_stream_in_half_precision_is_put_away_and_taken_up() -> None:
    model, (x, t) = causal().bfloat16(), videos()
    stream, again = Stream(model), Stream(model)
    stream.step(x[:, 0], t[:, 0])
    again.load_state_dict(stream.state_dict())
    assert stream.state["head.mean"].dtype == torch.float32, "its steps get smaller and smaller"
    assert torch.equal(again.step(x[:, 1], t[:, 1]), stream.step(x[:, 1], t[:, 1]))


@pytest.mark.parametrize("temporal", ["tsm", "hitagu", "gru"])
def test_a_step_that_is_interrupted_leaves_nothing_for_the_next_clip(temporal: str) -> None:
    model, (x, t) = causal(temporal=temporal), videos()
    with torch.inference_mode():
        before = model(x, t)
        stream = Stream(model)
        stream.step(x[:, 0], t[:, 0])

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        handle = model.backbone.stages["layer1"][1].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            stream.step(x[:, 1], t[:, 1])
        handle.remove()
        assert torch.equal(model(x, t), before)


@pytest.mark.slow
def test_what_a_stream_refuses() -> None:
    model, (x, _) = causal(), videos()
    with pytest.raises(ConfigError, match=r"model\.causal: found false; expected true"):
        Stream(causal(causal=False))
    with pytest.raises(ConfigError, match="found a network in training mode"):
        Stream(causal().train())
    with pytest.raises(ConfigError, match="seconds_per_stride: found 0"):
        Stream(model, 0)
    stream = Stream(model)
    with pytest.raises(ClipError, match=r"found nan s; expected a number"):
        stream.step(x[:, 0], float("nan"))
    with pytest.raises(ClipError, match=r"found pixels of torch\.int64; expected torch\.uint8, or floats"):
        stream.step(x[:, 0].long(), 0.0)
    stream.step(x[:, 0], torch.tensor([1.0, 2.0]))
    with pytest.raises(ClipError, match=r"stream 1: found 2 s; expected more than 2, the last frame's"):
        stream.step(x[:, 1], torch.tensor([1.5, 2.0]))
    with pytest.raises(ClipError, match=r"found a frame of \(1, 3, 32, 32\); expected \(2, 3, 32, 32\), as before"):
        stream.step(x[0, 1], 3.0)
    other = Stream(causal(stu={"width": 16}))
    with pytest.raises(WeightsError, match=r"stream's state: stu\.0: found \(2, 4, 4, 24\); expected \(2, 4, 4, 16\)"):
        other.load_state_dict(stream.state_dict())
    with pytest.raises(WeightsError, match=r"stream's state: mde\.0: found \(2, 8, 8, 8\); expected none"):
        Stream(causal(mde={"enabled": False})).load_state_dict(stream.state_dict())
