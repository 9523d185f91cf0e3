"""Scores, and the reordering of frames for order tests."""

import os
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from hitagu_lib import build_model
from hitagu_lib.config import Config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import WeightsError
from hitagu_lib.evaluation.protocols import Views
from hitagu_lib.evaluation.scores import ORDERS, Scores, reorder, reorder_views, score_clips


def test_topk_and_called() -> None:
    logits = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 2, 0], [0, 0, 5, 4]])
    scores = Scores(torch.arange(4), torch.tensor([0, 0, 2, 3]), logits)
    assert scores.topk(1) == pytest.approx(1 / 4)
    assert scores.topk(2) == pytest.approx(3 / 4)
    assert scores.topk(9) == pytest.approx(1.0)
    assert [scores.right(k).float().mean().item() for k in (1, 2, 9)] == [scores.topk(k) for k in (1, 2, 9)]
    assert scores.called(np.array([1, 0, 3, 2])) == pytest.approx(1 / 4)  # the last clip is called 2, the partner of 3


def test_reversing_turns_frames_and_times_around() -> None:
    frames, t = torch.arange(8).reshape(2, 4, 1), torch.tensor([[0.0, 1, 3, 7], [2, 3, 4, 4]])
    back, times = reorder(frames, t, "reversed", [0, 1])
    assert back[..., 0].tolist() == [[3, 2, 1, 0], [7, 6, 5, 4]]
    assert times.tolist() == [[0, 4, 6, 7], [0, 0, 1, 2]]
    assert torch.equal(times.diff(dim=1), t.diff(dim=1).flip(1))


def test_shuffling_keeps_each_clips_frames_and_its_times_and_depends_on_the_row_alone() -> None:
    frames, t = torch.arange(64).reshape(2, 32, 1), torch.arange(64.0).reshape(2, 32)
    mixed, times = reorder(frames, t, "shuffled", [5, 9])
    assert torch.equal(times, t)
    assert torch.equal(mixed.sort(dim=1).values, frames)
    assert not torch.equal(mixed, frames)
    assert torch.equal(reorder(frames[1:], t[1:], "shuffled", [9])[0], mixed[1:])


def test_freezing_shows_the_middle_frame_alone_at_the_clips_times() -> None:
    frames, t = torch.arange(9).reshape(1, 9, 1), torch.arange(9.0)[None]
    still, times = reorder(frames, t, "frozen", [0])
    assert still[..., 0].tolist() == [[4] * 9] and torch.equal(times, t)


@pytest.mark.parametrize("order", ORDERS)
def test_views_are_reordered_as_their_frames_would_be(order: str) -> None:
    """The reference is `reorder` on the frames: a video's first clip as a clip by itself, all crops of a clip alike."""
    T, clips, crops, row = 32, 3, 2, 11
    index = np.arange(clips * T).reshape(clips, 1, T) + 1000 * np.arange(crops)[:, None]
    t = torch.rand(clips, 1, T).cumsum(2).expand(clips, crops, T).reshape(-1, T)
    views = Views(torch.zeros(1), [], 1, index.reshape(-1, T), t)
    found = reorder_views(views, order, crops, row)
    frames, times = reorder(torch.from_numpy(views.index[:1]), t[:1], order, [row])
    assert found.index[0].tolist() == frames[0].tolist() and torch.equal(found.t[:1], times)
    by_clip = found.index.reshape(clips, crops, T)
    assert (by_clip[:, 1] == by_clip[:, 0] + 1000).all()
    assert (by_clip // 1000 == np.arange(crops)[:, None]).all()
    if order != "frozen":
        assert (np.sort(found.index, 1) == views.index).all()
    mixed = by_clip[:, 0] - T * np.arange(clips)[:, None]
    assert (len(np.unique(mixed, axis=0)) == clips) == (order == "shuffled"), "each clip has a shuffle of its own"


def test_forward_leaves_clips_alone() -> None:
    frames, t = torch.rand(2, 4, 1), torch.rand(2, 4)
    assert all(a is b for a, b in zip(reorder(frames, t, "forward", [0, 1]), (frames, t), strict=True))


def test_scoring_goes_through_every_clip_once_whatever_the_batch_size(tiny_cfg: Config) -> None:
    torch.manual_seed(0)
    model = build_model(tiny_cfg.model, 14).train()
    model.backbone.eval()
    dataset = ClipDataset(open_lists(tiny_cfg.data)[1], tiny_cfg.data, train=False)
    ones, fives = (
        score_clips(model, make_loader(dataset, size, shuffle=False), Accelerator(cpu=True)) for size in (1, 5)
    )
    assert model.training and not any(part.training for part in model.backbone.modules()), "each part keeps its mode"
    assert ones.rows.tolist() == list(range(len(dataset)))
    assert ones.logits.dtype == torch.float32
    torch.testing.assert_close(ones.logits, fives.logits, atol=1e-4, rtol=1e-4)


def test_logits_that_are_no_numbers_have_no_accuracy(tiny_cfg: Config) -> None:
    """They would have a rank all the same."""
    model = build_model(tiny_cfg.model, 14)
    model.head.linear.bias.data[3] = torch.nan
    loader = make_loader(ClipDataset(open_lists(tiny_cfg.data)[1], tiny_cfg.data, train=False), 5, shuffle=False)
    with pytest.raises(WeightsError, match=r"val\.csv: the network's logits are nan or infinite"):
        score_clips(model, loader, Accelerator(cpu=True))


def test_scoring_begins_the_loader_once(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it started twice, its workers would decode clips that nobody uses."""
    begun = []
    begin = DataLoader.__iter__
    monkeypatch.setattr(DataLoader, "__iter__", lambda loader: begun.append(loader) or begin(loader))
    _, val_clips = open_lists(tiny_cfg.data)
    loader = make_loader(ClipDataset(val_clips, tiny_cfg.data, train=False), 5, shuffle=False)
    score_clips(build_model(tiny_cfg.model, len(val_clips.classes)), loader, Accelerator(cpu=True))
    assert len(begun) == 1


def test_mean_class_accuracy_leaves_out_classes_without_videos() -> None:
    """Class 2 has no video and is predicted once: that is an error of class 1, not a class of its own."""
    scores = torch.eye(3)[[0, 0, 0, 1, 2]]
    assert Scores(torch.arange(5), torch.tensor([0, 0, 0, 1, 1]), scores).mean_class_accuracy() == pytest.approx(3 / 4)


def test_a_bar_that_nobody_reads_any_more_ends_no_scoring(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = open_lists(tiny_cfg.data)[1]
    loader = make_loader(ClipDataset(clips, tiny_cfg.data, train=False), 8, shuffle=False)
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        model = build_model(tiny_cfg.model, len(clips.classes))
        scores = score_clips(model, loader, Accelerator(cpu=True), progress=True)
    assert len(scores.rows) == len(clips)
