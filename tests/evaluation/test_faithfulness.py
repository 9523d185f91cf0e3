"""Deletion curves on a model whose right picture is known: it looks at one cell of one frame, or at one frame."""

import pytest
import torch
from torch import Tensor, nn

from hitagu_lib.evaluation.faithfulness import (
    PAINTS,
    against_random,
    areas,
    cell_curve,
    delete_cells,
    delete_frames,
    frame_curve,
    moved,
    of_another_clip,
    random_like,
)

FRAME, ROW, COLUMN = 2, 1, 3  # the cell that the model looks at, on a 4 x 4 map of 16 x 16 pixels
SHARES = [0.0, 1 / 96, 0.1, 0.5, 1.0]


class LooksAtOneCell(nn.Module):
    """Class 0 if the cell is bright, whatever the rest shows."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        seen = x[:, FRAME, :, 4 * ROW : 4 * ROW + 4, 4 * COLUMN : 4 * COLUMN + 4].mean((1, 2, 3))
        return torch.stack([10 * seen - 5, 5 - 10 * seen], dim=1)


class LooksAtOneTime(nn.Module):
    """Class 0 if the frame of time 3 is among the clip's and bright."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        seen = (x.mean((2, 3, 4)) * (t == 3)).sum(1)
        return torch.stack([10 * seen - 5, 5 - 10 * seen], dim=1)


def clips(B: int = 8, T: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.zeros(B, T, 3, 16, 16)
    x[:, FRAME, :, 4 * ROW : 4 * ROW + 4, 4 * COLUMN : 4 * COLUMN + 4] = 1
    return x, torch.arange(T).expand(B, T), torch.zeros(B, dtype=torch.long)


def right_map(B: int = 8, T: int = 6) -> Tensor:
    maps = torch.zeros(B, T, 4, 4)
    maps[:, FRAME, ROW, COLUMN] = 1
    return maps


def test_the_right_map_falls_at_once_a_wrong_one_last_and_chance_between() -> None:
    x, t, classes = clips()
    right = cell_curve(LooksAtOneCell(), x, t, classes, right_map(), SHARES)
    assert right.shape == (8, 5)
    assert (right[:, 0] > 0.99).all() and (right[:, 1:] < 0.01).all()
    wrong = cell_curve(LooksAtOneCell(), x, t, classes, -right_map(), SHARES)
    assert (wrong[:, :4] > 0.99).all() and (wrong[:, 4] < 0.01).all()
    chance = torch.stack(
        [
            cell_curve(LooksAtOneCell(), x, t, classes, moved(right_map(), torch.Generator().manual_seed(i)), SHARES)
            for i in range(8)
        ]
    ).mean(0)
    by_right, by_wrong, by_chance = (areas(curve, SHARES) for curve in (right, wrong, chance))
    assert against_random(by_right, by_chance)["verdict"] == "better"
    assert against_random(by_wrong, by_chance)["verdict"] == "worse", "a map that points away is worse than chance"


def test_a_map_is_not_better_than_chance_where_the_network_looks_everywhere() -> None:
    x, t, classes = torch.rand(16, 6, 3, 16, 16, generator=torch.Generator().manual_seed(0)), *clips(16)[1:]

    class LooksEverywhere(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.stack([100 * x.var((1, 2, 3, 4)), torch.zeros(len(x))], dim=1)

    generator = torch.Generator().manual_seed(1)
    by_map, by_chance = (
        areas(cell_curve(LooksEverywhere(), x, t, classes, random_like(right_map(16), generator), SHARES), SHARES)
        for _ in range(2)
    )
    assert against_random(by_map, by_chance)["verdict"] == "open"


def test_a_deleted_cell_takes_the_mean_colour_and_the_rest_stays() -> None:
    x, maps = torch.rand(2, 6, 3, 16, 16), torch.rand(2, 6, 4, 4)
    for share in (0.0, 0.25, 1.0):
        deleted = delete_cells(x, maps, share)
        changed = (deleted != x).any(2)  # (B, T, H, W)
        cells = changed.unfold(2, 4, 4).unfold(3, 4, 4)
        assert (cells.all((-1, -2)) == cells.any((-1, -2))).all(), "a cell is deleted as a whole"
        assert cells.all((-1, -2)).sum((1, 2, 3)).tolist() == [round(share * 96)] * 2
        mean = x.mean((1, 3, 4))
        for b in range(2):
            torch.testing.assert_close(
                deleted[b].permute(0, 2, 3, 1)[changed[b]], mean[b].expand(int(changed[b].sum()), 3)
            )


def test_each_paint_shows_what_it_says_in_deleted_cells_and_nowhere_else() -> None:
    x, maps = torch.rand(2, 5, 3, 16, 16), torch.rand(2, 5, 4, 4)
    some = (delete_cells(x, maps, 0.25) != x).any(2, keepdim=True).expand_as(x)
    before = torch.stack([x[:, max(0, n - 1)] for n in range(5)], 1)
    middle = x.sort(1).values[:, 2:3].expand_as(x)  # of five frames
    # 16 pixels: squares of 5, the edge repeated
    near = [[min(max(i + d, 0), 15) for d in range(-2, 3)] for i in range(16)]
    rows = torch.stack([x[..., i, :].mean(-2) for i in near], -2)
    focus = torch.stack([rows[..., i].mean(-1) for i in near], -1)
    by_hand = {"blurred": focus, "still": middle, "frame before": before}
    assert by_hand.keys() == PAINTS.keys() - {"mean colour"}
    for paint, expected in by_hand.items():
        torch.testing.assert_close(delete_cells(x, maps, 0.25, paint), torch.where(some, expected, x))


def test_the_right_frame_counts_and_the_rest_keep_their_times() -> None:
    T = 6
    x, t = torch.zeros(4, T, 3, 8, 8), torch.arange(T).expand(4, T)
    x[:, 3] = 1
    weights = torch.tensor([0.1, 0.1, 0.1, 0.4, 0.2, 0.1]).expand(4, T)
    kept, times = delete_frames(x, t, weights, 2)
    assert times.tolist() == [[0, 1, 2, 5]] * 4 and not kept.any()
    classes = torch.zeros(4, dtype=torch.long)
    right = frame_curve(LooksAtOneTime(), x, t, classes, weights)
    assert right.shape == (4, T)
    assert (right[:, 0] > 0.99).all() and (right[:, 1:] < 0.01).all()
    last = frame_curve(LooksAtOneTime(), x, t, classes, -weights)
    assert (last[:, : T - 1] > 0.99).all(), "the frame that matters most is the one that is left"


def test_a_moved_map_deletes_as_much_in_the_same_shape() -> None:
    maps = torch.rand(3, 6, 4, 4)
    other = moved(maps, torch.Generator().manual_seed(0))
    assert torch.equal(other.flatten(1).sort(1).values, maps.flatten(1).sort(1).values)
    assert not torch.equal(other, maps)
    again = moved(maps, torch.Generator().manual_seed(0))
    assert torch.equal(other, again)


@pytest.mark.parametrize("B", [2, 3, 5, 6, 28, 84])
def test_no_clip_gets_its_own_map_as_another_clip_s(B: int) -> None:
    maps = torch.arange(B)[:, None].expand(B, 4)
    others = of_another_clip(maps)
    assert (others != maps).all() and others[:, 0].sort().values.tolist() == list(range(B))


def test_areas_are_mean_scores() -> None:
    curves = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    assert areas(curves, [0, 0.2, 1]).tolist() == pytest.approx([1.0, 0.1])
    assert areas(curves[:, :1], [0]).tolist() == [1.0, 1.0], "a clip of one frame has nothing to delete"
    assert areas(curves.to("meta"), [0, 0.2, 1]).device.type == "meta", "curves may lie on a GPU"
