"""What a wrong flip costs: mirrored clips keep their old label, and no error message reports it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hitagu_lib.config import Config, DataConfig
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.source import open_lists
from hitagu_lib.prepare.synthetic.make import CLASSES, HFLIP

LEFT, RIGHT = "to the left", "to the right"
SWAPS = ((LEFT, RIGHT),)


def wrong_labels(cfg: DataConfig, epochs: int = 12) -> float:
    """Return the share of training clips of direction classes whose label is not what their frames show."""
    clips = open_lists(cfg)[0]
    loaded, plain = (ClipDataset(clips, dataclasses.replace(cfg, hflip=hflip), train=True) for hflip in (True, False))
    rows = [row for row, label in enumerate(clips.labels) if HFLIP[label] != label]
    wrong = []
    for epoch, row in ((epoch, row) for epoch in range(epochs) for row in rows):
        (frames, _, label, _), (before, _, true, _) = loaded[epoch, row], plain[epoch, row]
        mirrored = not torch.equal(frames, before)
        assert torch.equal(frames, before.flip(-1) if mirrored else before)
        wrong.append(label != (HFLIP[true] if mirrored else true))
    return float(np.mean(wrong))


@pytest.mark.slow
def test_without_the_table_half_the_labels_of_direction_classes_are_wrong(tiny_cfg: Config) -> None:
    assert any(partner != i for i, partner in enumerate(HFLIP)) and len(HFLIP) == len(CLASSES)
    assert wrong_labels(tiny_cfg.data) == 0, "params/mini.yaml has the table"
    assert wrong_labels(dataclasses.replace(tiny_cfg.data, hflip_swaps=())) == pytest.approx(0.5, abs=0.1)


@pytest.fixture
def movers(tmp_path: Path) -> DataConfig:
    """A bright square that moves to the left or to the right over noise: 40 clips to train on, 40 to validate."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        rows = []
        for clip in range(40):
            folder, label = tmp_path / f"{split}/{clip}", clip % 2
            folder.mkdir(parents=True)
            top, start = rng.integers(0, 12, 2)
            for frame in range(4):
                picture = rng.integers(0, 60, (24, 24, 3), dtype=np.uint8)
                left = start + 4 * frame if label else 23 - 8 - start - 4 * frame
                picture[top : top + 8, max(0, left) : left + 8] = 220
                Image.fromarray(picture).save(folder / f"{frame + 1:06d}.jpg", quality=95)
            rows.append(f"{split}/{clip},{label},4\n")
        (tmp_path / f"{split}.csv").write_text("".join(rows))
    (tmp_path / "classes.txt").write_text(f"{LEFT}\n{RIGHT}\n")
    lists = {name: str(tmp_path / file) for name, file in (("train_list", "train.csv"), ("val_list", "val.csv"))}
    return DataConfig(
        root=str(tmp_path), **lists, num_frames=4, image_size=16, short_side=16, min_scale=0.9, hflip=True
    )


def trained_accuracy(cfg: DataConfig, epochs: int = 6) -> float:
    """Return the validation top-1 of a ridge regression on the frames' column brightness, trained on the loader's clips."""

    def examples(dataset: ClipDataset, epochs: int) -> tuple[torch.Tensor, torch.Tensor]:
        clips = [dataset[epoch, row] for epoch in range(epochs) for row in range(len(dataset))]
        columns = torch.stack([frames.float().mean((1, 2)).flatten() for frames, *_ in clips]).double()  # (N, T S)
        return columns, torch.tensor([2.0 * label - 1 for *_, label, _ in clips]).double()

    train, val = open_lists(cfg)
    x, y = examples(ClipDataset(train, cfg, train=True), epochs)
    mean = x.mean(0)
    weights = torch.linalg.solve((x - mean).T @ (x - mean) + 1e3 * torch.eye(x.shape[1]), (x - mean).T @ y)
    seen, labels = examples(ClipDataset(val, cfg, train=False), 1)
    return float((((seen - mean) @ weights).sign() == labels).double().mean())


@pytest.mark.slow
def test_a_classifier_of_direction_learns_with_the_table_and_fails_without(movers: DataConfig) -> None:
    assert trained_accuracy(dataclasses.replace(movers, hflip=False)) >= 0.95
    assert trained_accuracy(dataclasses.replace(movers, hflip_swaps=SWAPS)) >= 0.95
    assert trained_accuracy(movers) == pytest.approx(0.5, abs=0.25), "mirrored under the old label: chance"
