"""The linear probe on features whose content is known."""

import pytest
import torch

from hitagu_lib.evaluation.linear_probe import linear_probe


def rows(n: int, seed: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of noise, in which two directions hold the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    x = torch.randn(n, 12, generator=generator)
    angle = 2 * torch.pi * y / classes
    x[:, 3] += 6 * angle.cos()
    x[:, 7] += 6 * angle.sin()
    return 100 * x + 5, y


def test_it_reads_what_is_there() -> None:
    right, scores = linear_probe(*rows(300, 0), *rows(200, 1))
    assert right.float().mean() > 0.98 and scores.shape == (200, 3)


def test_it_reads_nothing_where_nothing_is() -> None:
    (x, y), (test_x, test_y) = rows(300, 0), rows(2000, 1)
    x[:, [3, 7]], test_x[:, [3, 7]] = 5.0, 5.0
    right, _ = linear_probe(x, y, test_x, test_y)
    assert float(right.float().mean()) == pytest.approx(1 / 3, abs=0.06)


def test_more_features_than_rows_and_constant_ones_are_no_trouble() -> None:
    x, y = rows(40, 0, classes=2)
    x = torch.cat([x, torch.ones(40, 100)], dim=1)
    test_x, test_y = rows(100, 1, classes=2)
    test_x = torch.cat([test_x, 3 * torch.ones(100, 100)], dim=1)
    right, scores = linear_probe(x, y, test_x, test_y)
    assert scores.isfinite().all() and right.float().mean() > 0.95
