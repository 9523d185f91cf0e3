"""Figures of motion show the given numbers, each in its place."""

import matplotlib as mpl
import pytest
import torch

mpl.use("Agg")

from hitagu_lib.models.mde import ShiftMatch
from hitagu_lib.viz import modules
from hitagu_lib.viz.style import new_figure


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_the_winner_is_the_shift_that_the_module_was_shown(radius: int) -> None:
    """The reference is ShiftMatch itself, so that its order of shifts and the figures' cannot diverge."""
    feature = torch.tensor([1.0, -2.0, 0.5])
    for down, right in ((0, 0), (0, 1), (-1, 0), (radius, -radius)):
        frames = torch.zeros(1, 2, 3, 9, 9)
        frames[0, 0, :, 4, 4] = frames[0, 1, :, 4 + down, 4 + right] = feature
        weights = ShiftMatch(radius)(frames)[0, 0, :, 4, 4].detach()
        assert modules.winning_shift(weights) == (down, right)


def test_a_tie_names_no_shift() -> None:
    weights = torch.zeros(9)
    assert modules.winning_shift(weights) is None
    weights[[1, 7]] = torch.tensor([1.0, 0.995])
    assert modules.winning_shift(weights) is None
    weights[7] = 0.9
    assert modules.winning_shift(weights) == (-1, 0)


@pytest.mark.parametrize("shape", [(16,), (24,), (1,), (5, 5)])
def test_what_is_no_square_of_shifts_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"found shape .* expected \(S,\), S = 9, 25, 49"):
        modules.winning_shift(torch.zeros(shape))


def test_shifts_are_drawn_with_right_to_the_right_and_down_below() -> None:
    weights = torch.zeros(25)
    weights[4 * 5 + 3] = 5.0  # two down, one right
    figure, ax = new_figure(2)
    image = modules.draw_shifts(ax, weights, limit=6.0)
    figure.draw_without_rendering()
    assert image.get_array()[4, 3] == 5 and image.get_clim() == (0, 6)
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (-2.5, 2.5, 2.5, -2.5), "the first row on top is two up"
    (frame,) = ax.patches
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == (1, 2)
    assert ax.get_xlabel() == "right (grid steps)" and ax.get_ylabel() == "down (grid steps)"


def test_a_tie_is_drawn_without_a_frame() -> None:
    _, ax = new_figure(2)
    modules.draw_shifts(ax, torch.ones(9))
    assert not ax.patches


def test_rows_share_one_scale_with_zero_in_its_middle() -> None:
    rows = {"r": torch.ones(3, 4, 4), "d+": torch.full((3, 4, 4), -2.0)}
    figure = modules.signed_rows(rows)
    images = [ax.images[0] for ax in figure.axes if ax.images and not ax.get_label().startswith("<colorbar")]
    assert len(images) == 6
    assert {image.get_clim() for image in images} == {(-2.0, 2.0)}
    assert [float(image.get_array().mean()) for image in images] == [1, 1, 1, -2, -2, -2]
    assert [ax.get_ylabel() for ax in figure.axes[::3]][:2] == ["r", "d+"]
    assert [ax.get_xlabel() for ax in figure.axes[:6]] == ["", "", "", "frame 1", "frame 2", "frame 3"]
