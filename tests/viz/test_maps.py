"""Attention figures on inputs and networks whose right picture is known."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from known_picture import PatchColours, colour_net, lit_clip

mpl.use("Agg")

from hitagu_lib.config import MDEConfig
from hitagu_lib.models.mde import MDE
from hitagu_lib.runs.provenance import source_of
from hitagu_lib.viz import maps
from hitagu_lib.viz.style import credit, new_figure

T4 = torch.arange(4.0)


def grey(T: int = 4) -> torch.Tensor:
    return torch.full((T, 3, 32, 32), 200, dtype=torch.uint8)


def brightest(picture: np.ndarray) -> tuple[int, int]:
    """The 8 x 8 patch that is brightest."""
    patches = picture[..., :3].astype(float).reshape(4, 8, 4, 8, 3).mean((1, 3, 4))
    row, column = divmod(int(patches.argmax()), 4)
    return row, column


def test_a_spotlight_is_bright_in_the_marked_cell_alone() -> None:
    values = torch.zeros(4, 4, 4)
    values[2, 1, 3] = 0.7
    shown = maps.spotlight(grey(), values)
    assert shown.shape == (4, 32, 32, 3) and shown.dtype == np.uint8
    lit = shown == 200
    assert lit[2, 8:16, 24:32].all() and lit.sum() == 8 * 8 * 3
    assert (shown[~lit] == 40).all()
    half = maps.spotlight(grey(), torch.full((4, 4, 4), 0.5), low=0, high=1)
    assert (half == 120).all(), "a scale that is given holds for all clips"


@pytest.mark.parametrize(("frame", "row", "column"), [(0, 0, 0), (2, 1, 3)])
def test_gates_of_the_known_network_light_up_the_shining_patch(frame: int, row: int, column: int) -> None:
    x = lit_clip(frame, row, column)
    _, seen = colour_net()(x, T4[None], return_maps=True)
    figure = maps.spotlight_rows(grey(), {"spatial gate": seen.spatial_map[0]}, T4, "a clip")
    below = figure.axes[4:]
    shown = [ax.images[0].get_array() for ax in below]
    assert brightest(shown[frame]) == (row, column)
    assert max(range(4), key=lambda i: float(shown[i].max())) == frame
    assert below[0].get_ylabel() == "spatial gate\n0.5 to 1" and below[3].get_xlabel() == "t = 3.0"
    assert figure.get_suptitle() == "a clip"


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 1)])
def test_the_motion_gate_lights_up_around_what_moves_and_nowhere_else(row: int, column: int) -> None:
    """Whatever its weights: a patch shines in frame 3 of 6 alone, so something changes at it, and beside it, in frames 2 to 4."""
    torch.manual_seed(0)
    mde = MDE(MDEConfig(taps=("layer1",), reduced=3, width=4), {"layer1": 3}, "layer1").eval()
    torch.nn.init.normal_(mde.W_a.weight)
    tapped = PatchColours()(lit_clip(3, row, column, T=6)[0])
    with torch.no_grad():
        _, gate = mde(tapped["layer1"], mde.reduce(tapped), 6)
    figure = maps.spotlight_rows(grey(6), {"motion gate": gate.abs().mean(1)}, torch.arange(6.0))
    for frame, ax in enumerate(figure.axes[6:]):
        dark = (ax.images[0].get_array().reshape(4, 8, 4, 8, 3) == 40).all((1, 3, 4))
        near = np.zeros((4, 4), bool)
        near[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = frame in (2, 3, 4)
        assert (dark == ~near).all(), frame


@pytest.mark.parametrize("frame", [0, 2])
def test_attention_of_the_known_network_reads_the_red_frame_under_its_own_picture(frame: int) -> None:
    x = lit_clip(frame, 1, 1)
    _, seen = colour_net()(x, T4[None], return_maps=True)
    frames = (255 * x[0]).byte()
    figure = maps.attention_figure(frames, seen.temporal_attention[0], T4 * 10 / 13)
    for ax in figure.axes[:2]:
        square, above, left = ax.images
        assert (square.get_array().argmax(1) == frame).all(), "each frame reads the red one"
        assert square.get_extent() == [0, 4, 4, 0]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.769", "1.54", "2.31"]
        strip = np.asarray(above.get_array())
        assert above.get_extent() == [0, 4, -0.1, -1.1]
        assert (strip[:, 32 * frame : 32 * (frame + 1)] > 0).any(), "the red frame stands above the column"
        assert not strip[:, np.r_[: 32 * frame, 32 * (frame + 1) : 128]].any()
        assert (np.asarray(left.get_array())[32 * frame : 32 * (frame + 1)] > 0).any()
        assert ax.get_ylim() == (4, -1.1) and ax.get_title().startswith("head ")


def test_states_show_who_remembers_what_where_and_when() -> None:
    """The short state knows the patch at once and forgets it; the long one comes to know it and keeps it."""
    states = torch.zeros(4, 3, 2, 4, 4)
    states[0, 0, :, 1, 3] = torch.tensor([1.0, -1.0])
    states[1:, 2, :, 1, 3] = 0.5
    figure = maps.states_figure(grey(), states, T4)
    rows = np.array(figure.axes[:16], dtype=object).reshape(4, 4)
    shown = np.array([[ax.images[0].get_array() for ax in row] for row in rows[1:]])
    assert shown.shape == (3, 4, 4, 4)
    assert shown[0, 0, 1, 3] == 1 and shown[0].sum() == 1, "|h|, not h: opposite channels do not cancel"
    assert shown[2, 1:, 1, 3].tolist() == [0.5] * 3 and not shown[1].any()
    assert {ax.images[0].get_clim() for ax in rows[1:].flat} == {(0, 1)}, "one scale for all levels"
    assert [row[0].get_ylabel() for row in rows[1:]] == ["short", "mid", "long"]


def test_what_is_kept_is_bright_off_the_diagonal() -> None:
    states = torch.zeros(4, 3, 4, 1, 1)
    states[:, 0, :, 0, 0] = torch.eye(4)  # each frame something else
    states[:, 1, 0] = torch.tensor([1.0, 0.5, 0.25, 0.1])[:, None, None]  # fades, and stays what it was
    states[:2, 2, 0], states[2:, 2, 1] = 1, 1  # overwritten in the middle
    cosines = maps.kept(states)
    assert torch.equal(cosines[0], torch.eye(4)) and torch.allclose(cosines[1], torch.ones(4, 4))
    assert torch.equal(cosines[2], torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)))
    figure = maps.kept_figure(states, T4)
    for ax, square, name in zip(figure.axes, cosines, ("short", "mid", "long"), strict=False):
        assert torch.equal(torch.from_numpy(np.asarray(ax.images[0].get_array())), square) and ax.get_title() == name


def test_channels_are_sorted_by_how_open_they_are() -> None:
    gate = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.7, 0.6]])
    (ax, _) = maps.channels_figure(gate, T4[:2]).axes
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.9, 0.5, 0.1], [0.7, 0.6, 0.1]])


def test_deletion_curves_and_their_areas() -> None:
    shares = [0.0, 0.5, 1.0]
    curves = {"map": torch.tensor([[1.0, 0, 0], [0.8, 0, 0]]), "random": torch.tensor([[1.0, 1, 0], [0.8, 0.6, 0]])}
    left, right = maps.deletion_figure(curves, shares, "cells").axes
    assert [line.get_label() for line in left.lines] == ["map", "random"]
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.9, 0, 0])
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle(), "told apart in grey"
    means = [line.get_xdata()[0] for line in right.lines if line.get_marker() == "D"]
    assert means == pytest.approx([(0.25 + 0.2) / 2, (0.75 + 0.5) / 2])
    assert [label.get_text() for label in right.get_yticklabels()] == ["map", "random"]


@pytest.mark.parametrize(("changed", "mark"), [(False, ""), (True, " + changes")])
def test_a_figure_names_its_run_and_commit(tmp_path: Path, changed: bool, mark: str) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"git_commit": "0123456789abcdef", "git_changed": changed}))
    source = source_of(tmp_path)
    assert source == f"{tmp_path.as_posix()}, commit 012345678{mark}"
    figure, _ = new_figure(1)
    assert credit(figure, source).get_supxlabel() == source


@pytest.mark.parametrize("frame", [1, 2])
def test_a_frame_its_map_and_what_it_reads(frame: int) -> None:
    values = torch.zeros(4, 4, 4)
    values[2, 1, 3] = 0.7
    weights = torch.eye(4).roll(1, 1)  # each frame reads the one after it
    plain, under, reads = maps.frame_figure(grey(), values, weights, T4, frame, "gate").axes
    assert (plain.images[0].get_array() == 200).all()
    lit = np.asarray(under.images[0].get_array()) == 200
    assert lit.any() == (frame == 2), "one scale for the clip: a frame without attention is dark"
    assert under.get_title() == f"gate: 0 to {0.7 if frame == 2 else 0:g}"
    assert [bar.get_height() for bar in reads.patches] == [float(i == frame + 1) for i in range(4)]
    assert [bool(bar.get_hatch()) for bar in reads.patches] == [i == frame for i in range(4)]
