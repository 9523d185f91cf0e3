"""hitagu_lib/viz/views.py: the frames, crops and classes that the figures show."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from hitagu_lib.config import Config
from hitagu_lib.evaluation.protocols import arrange, crop_corners, protocol
from hitagu_lib.viz.style import new_figure
from hitagu_lib.viz.views import draw_crops, frames_seen, views_figure


def test_frames_seen_has_a_dot_a_frame_and_counts_the_distinct_ones() -> None:
    clips = {"one": np.array([[0, 2, 4]]), "two": np.array([[0, 2, 4], [1, 2, 5]])}
    one, two = frames_seen(clips, 6).axes
    assert one.collections[0].get_offsets().tolist() == [[0, 1], [2, 1], [4, 1]]
    assert two.collections[0].get_offsets().tolist() == [[0, 1], [2, 1], [4, 1], [1, 2], [2, 2], [5, 2]]
    assert two.get_title(loc="left") == "two: 6 frames asked for, 5 of 6 distinct"


def test_crops_are_drawn_where_they_are() -> None:
    _, ax = new_figure(2)
    draw_crops(ax, torch.zeros(3, 20, 40, dtype=torch.uint8), [(0, 0), (0, 20)], 20)
    outlines = {patch.get_xy() for patch in ax.patches if isinstance(patch, Rectangle)}
    assert outlines == {(-0.5, -0.5), (19.5, -0.5)}


@pytest.mark.slow
def test_a_video_under_a_protocol_shows_the_frames_of_each_clip_and_the_best_classes(tiny_cfg: Config) -> None:
    plan = protocol(tiny_cfg.data, dataclasses.replace(tiny_cfg.eval, protocol="multi", clips=2, crops=3))
    plan = dataclasses.replace(plan, short_side=20, crop_size=16, ref_stride=4.0)
    N, T = 30, plan.num_frames
    clips = plan.clip_indices(N)
    frames = torch.randint(255, (len(np.unique(clips)), 3, 20, 27), dtype=torch.uint8)
    views = arrange(frames, clips, plan)
    probabilities = torch.softmax(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), 1)
    average = probabilities.mean(0)
    figure = views_figure(views, plan, probabilities, average, list("abcde"), "a video")
    strips, bars = figure.axes[0:4:2], figure.axes[1:6:2]
    for strip, frame_numbers in zip(strips, clips, strict=True):
        assert [label.get_text() for label in strip.get_xticklabels()] == [str(n) for n in frame_numbers]
        assert len(strip.patches) == T * len(crop_corners(20, 27, 16, 3))
    best = average.argsort(descending=True)[:3]
    for ax, values in zip(bars, [probabilities[:3].mean(0), probabilities[3:].mean(0), average], strict=True):
        assert np.allclose([bar.get_width() for bar in ax.patches], values[best].numpy())
    assert [text.get_text() for text in figure.axes[4].texts] == ["abcde"[k] for k in best]
