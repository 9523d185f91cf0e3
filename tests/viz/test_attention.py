"""Figures of attention show the given weights, in the requested row."""

import matplotlib.pyplot as plt
import pytest
import torch

from hitagu_lib.errors import ConfigError
from hitagu_lib.viz.modules import draw_attention, query_figure
from hitagu_lib.viz.style import PALETTE, new_figure


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def some_weights(T: int) -> torch.Tensor:
    return torch.randn(T, T, generator=torch.Generator().manual_seed(0)).softmax(1)


def test_the_map_is_drawn_with_the_asking_frame_down_and_the_read_one_across() -> None:
    weights, t = some_weights(3), torch.tensor([0, 0.5, 4])
    _, ax = new_figure(2)
    draw_attention(ax, weights, t, "a head")
    assert (ax.images[0].get_array() == weights.numpy()).all()
    assert ax.images[0].get_clim() == (0, 1), "pictures of several heads share one scale"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.5", "4"]
    assert "reads" in ax.get_xlabel() and "asks" in ax.get_ylabel() and ax.get_title() == "a head"


@pytest.mark.parametrize(
    "frames",
    [torch.rand(4, 5, 6), torch.rand(4, 3, 5, 6), torch.randint(256, (4, 3, 5, 6), dtype=torch.uint8)],
    ids=["grey", "colour", "bytes"],
)
@pytest.mark.parametrize("query", [0, 3])
def test_the_bars_are_the_row_of_the_asking_frame_and_the_box_is_around_it(frames: torch.Tensor, query: int) -> None:
    weights = some_weights(4)
    figure = query_figure(frames, weights, torch.arange(4.0), query)
    above, below = figure.axes[:4], figure.axes[4:]
    heights = [ax.patches[0].get_height() for ax in below]
    torch.testing.assert_close(torch.tensor(heights, dtype=torch.float32), weights[query])
    assert [ax.spines["left"].get_visible() for ax in above] == [j == query for j in range(4)]
    assert above[query].spines["left"].get_edgecolor()[:3] == PALETTE[1]
    drawn = torch.from_numpy(above[2].images[0].get_array().data)
    assert torch.equal(drawn, frames[2] if frames.ndim == 3 else frames[2].permute(1, 2, 0))
    assert above[2].images[0].get_clim() == (0, 255 if frames.dtype == torch.uint8 else 1)


@pytest.mark.parametrize("query", [-1, 4])
def test_a_frame_that_is_not_there_cannot_ask(query: int) -> None:
    with pytest.raises(ConfigError, match=rf"found query {query}; expected a frame from 0 to 3"):
        query_figure(torch.rand(4, 5, 6), some_weights(4), torch.arange(4.0), query)


def test_frames_weights_and_times_must_be_of_one_clip() -> None:
    with pytest.raises(ConfigError, match=r"found 4 frames, weights \(3, 3\) and 4 times"):
        query_figure(torch.rand(4, 5, 6), some_weights(3), torch.arange(4.0), 0)
    with pytest.raises(ConfigError, match="and 3 times"):
        query_figure(torch.rand(4, 5, 6), some_weights(4), torch.arange(3.0), 0)
