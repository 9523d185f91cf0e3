"""The running prediction: which frames it uses at each moment; sharing features between moments changes nothing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from media_fixtures import make_clip

from hitagu_lib import build_model
from hitagu_lib.config import Config, DataConfig
from hitagu_lib.data.frames import normalise, read_frames
from hitagu_lib.data.transforms import centre_crop
from hitagu_lib.inference.predict import load_model
from hitagu_lib.inference.streaming import predict_along, running_clips
from hitagu_lib.models import FrameFeatures


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
            assert running.spatial_map is None and running.reads is None
        else:
            torch.testing.assert_close(running.spatial_map[n], maps.spatial_map[0, -1], rtol=0, atol=1e-5)
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
    assert running.spatial_map.std() > 1e-4 and running.reads[-1].std() > 1e-4
    assert running.probabilities.std(0).max() > 1e-4
