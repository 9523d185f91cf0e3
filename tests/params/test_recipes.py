"""params/k700.yaml and ssv2.yaml are whole: all that they name is built, and two steps are taken on frames of real size."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from hitagu_lib.config import Config, load_config
from hitagu_lib.data.dataset import ClipDataset, swap_table
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import Batch, collate, make_loader
from hitagu_lib.data.source import check_paths, open_lists
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.training.learner import Learner
from hitagu_lib.training.optim import make_schedule

ROOT = Path(__file__).resolve().parents[2]
MIRRORED = ((86, 87), (93, 94), (166, 167))  # of Something-Something V2's official labels
SIZES = {"k700": (340, 256), "ssv2": (427, 240)}
CLASSES = {"k700": 700, "ssv2": 174}
LENGTHS = {"k700": 300, "ssv2": 45}


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 under torchvision's names, in ImageNet's place."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), file)
    return file


def labels_of(name: str, cfg: Config) -> list[str]:
    """As many labels as the data set has, those that a mirror swaps where the official list has them."""
    labels = [f"label {i}" for i in range(CLASSES[name])]
    for (left, right), (a, b) in zip(cfg.data.hflip_swaps, MIRRORED, strict=False):
        labels[a], labels[b] = left, right
    return labels


def write_frames(folder: Path, width: int, height: int, frames: int, seed: int) -> None:
    """JPEG frames of a few moving waves; a tenth of them distinct, the others links to these."""
    folder.mkdir(parents=True)
    y, x = np.mgrid[:height, :width]
    pictures = []
    for k in range(max(1, frames // 10)):
        waves = [127 + 100 * np.sin(0.02 * (c + 1 + seed) * x + 0.05 * y + 0.7 * k) for c in range(3)]
        buffer = io.BytesIO()
        Image.fromarray(np.stack(waves, axis=2).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        pictures.append(folder.with_name(f"{folder.name}-{k}.jpg"))
        pictures[-1].write_bytes(buffer.getvalue())
    for i in range(frames):
        os.link(pictures[i % len(pictures)], folder / f"{i + 1:06d}.jpg")


def recipe_on(
    name: str, data: Path, weights: Path | None, overrides: str = "", size: tuple[int, int] | None = None
) -> Config:
    """The recipe over generated data of its kind, with two clips a batch and no loader processes; nothing else is changed.

    But for `overrides`, and frames of another size.
    """
    cfg = load_config(ROOT / "params" / f"{name}.yaml")
    labels = labels_of(name, cfg)
    data.mkdir()
    (data / "classes.txt").write_text("\n".join(labels) + "\n")
    rows = [f"clip{i},{i * 29},{LENGTHS[name]}\n" for i in range(4)]
    for i in range(4):
        write_frames(data / "frames" / f"clip{i}", *(size or SIZES[name]), LENGTHS[name], seed=i)
    for file in ("train.csv", "val.csv"):
        (data / file).write_text("".join(rows))
    return load_config(
        ROOT / "params" / f"{name}.yaml",
        f"data.root={data / 'frames'} data.train_list={data / 'train.csv'} data.val_list={data / 'val.csv'} data.workers=0 "
        f"train.batch_size=2 model.backbone.weights={weights or 'null'} {overrides}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["k700", "ssv2"])
def test_a_recipe_builds_all_that_it_names_and_takes_two_steps(name: str, tmp_path: Path, resnet50: Path) -> None:
    cfg = recipe_on(name, tmp_path / "data", resnet50)
    check_paths(cfg.data)
    clips, val_clips = open_lists(cfg.data)
    assert len(clips.classes) == CLASSES[name] and len(val_clips) == 4
    dataset = ClipDataset(clips, cfg.data, train=True, seed=cfg.train.seed)
    loader = make_loader(dataset, cfg.train.batch_size, shuffle=True)
    assert len(loader) == 2
    learner = Learner(cfg, clips.classes, len(loader), make_accelerator(cfg.train))
    assert learner.model.backbone.loaded.unused == ("fc",) and learner.model.backbone.loaded.random == ()
    decayed, free = learner.optimizer.param_groups
    expected = {"k700": 1e-4, "ssv2": 5e-4}[name]
    assert (decayed["momentum"], decayed["weight_decay"], free["weight_decay"]) == (0.9, expected, 0.0)

    learner.model.train()
    before = {name: value.clone() for name, value in learner.model.named_parameters()}
    rates = []
    for batch in loader:
        assert batch["frames"].shape == (2, 8, 3, 224, 224) and batch["frames"].dtype == torch.uint8
        values = learner.step([batch])
        rates.append(values["lr"])
        assert {"loss", "cross_entropy", "center", "temporal", "grad_norm", "lr"} <= values.keys()
        assert all(np.isfinite(value) for value in values.values())
    assert 0 < rates[0] < rates[1] < cfg.train.lr, "warming up"
    after = dict(learner.model.named_parameters())
    unmoved = [name for name in before if torch.equal(before[name], after[name])]
    moved = {name.partition(".")[0] for name in before.keys() - set(unmoved)}
    assert moved == {"backbone", "mde", "stu", "sca", "tsa", "head"}
    assert all(value.isfinite().all() for value in after.values())
    assert learner.criterion.center.centers.abs().sum(1).gt(0).sum() == 4, "the centres of the classes that were seen"


SMALL = (
    "data.short_side=54 data.image_size=48 train.batch_size=4 train.lr_batch=4 model.backbone.name=resnet18 model.backbone.cut=layer3 "
    "model.mde.taps=[layer2,layer3]"
)
"""ResNet-18's first stages, and steps of 4 clips at the full rate of 64."""


@pytest.fixture(params=["random", "ImageNet"])
def weights(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "random":
        return None
    file = request.getfixturevalue("shared_data") / "weights" / "resnet18_imagenet_to_layer3_bnfolded.pt"
    if not file.exists():
        pytest.skip(f"no ImageNet stages: {file} is not there")
    return Path(file)


def learner_of(cfg: Config) -> tuple[Learner, Batch]:
    """A learner whose warm-up ends with its 20th step, and all four clips of the data in one batch."""
    clips, _ = open_lists(cfg.data)
    torch.manual_seed(0)
    learner = Learner(cfg, clips.classes, 4, make_accelerator(cfg.train))
    learner.model.train()
    dataset = ClipDataset(clips, cfg.data, train=True)
    return learner, collate([dataset[0, row] for row in range(4)])


def lengths(learner: Learner, batch: Batch) -> float:
    """The mean length of the clips' embeddings."""
    with torch.no_grad():
        _, maps = learner.model(normalise(batch["frames"]), batch["t"], return_embeddings=True)
    return float(maps.clip_embedding.norm(dim=1).mean())


@pytest.mark.slow
def test_the_center_loss_stays_bounded_over_the_recipes_first_fifty_steps(weights: Path | None, tmp_path: Path) -> None:
    # The file's BatchNorms are folded into its convolutions.
    frozen = "" if weights is None else "model.backbone.frozen_bn=true"
    cfg = recipe_on("ssv2", tmp_path / "data", weights, f"{SMALL} {frozen}", size=(72, 54))
    assert cfg.train.center_loss and cfg.train.lambda_center == 0.1

    def fifty_steps(**changes: object) -> tuple[Learner, Batch, list[dict[str, float]]]:
        learner, batch = learner_of(dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes)))
        return learner, batch, [learner.step([batch]) for _ in range(50)]

    before = lengths(*learner_of(cfg))
    learner, batch, steps = fifty_steps()
    _, _, alone = fifty_steps(center_loss=False)
    other, one = learner_of(dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, center_normalised=False)))
    by_length, first = other.step([one])["grad_norm"], alone[0]["grad_norm"]
    assert steps[0]["grad_norm"] == pytest.approx(first, rel=1e-3), "centres at 0 pull nowhere"
    assert by_length > 1.05 * first, "by length, they pull from the first step on"
    assert all(0.1 * step["center"] <= 0.2 for step in steps)
    # ImageNet's stages have a peak of their own while the rate warms up, with and without the loss.
    peak, usual = (max(step["grad_norm"] for step in those) for those in (steps, alone))
    assert peak < 2 * usual, (peak, usual)
    assert steps[-1]["cross_entropy"] < 0.5 * steps[0]["cross_entropy"]
    assert lengths(learner, batch) > before / 2, "the embeddings are not pressed together"


def test_the_rate_is_the_recipes_after_its_warm_up_and_ends_at_zero() -> None:
    for name in ("k700", "ssv2"):
        cfg = load_config(ROOT / "params" / f"{name}.yaml").train
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.lr)
        schedule = make_schedule(optimizer, cfg, steps_per_epoch=4)
        rates = []
        for _ in range(cfg.epochs * 4):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        assert int(np.argmax(rates)) == 5 * 4 and max(rates) == pytest.approx(0.01)
        assert schedule.get_last_lr()[0] == pytest.approx(0, abs=1e-9)


def test_ssv2s_mirrored_labels_are_the_official_ones(shared_data: Path) -> None:
    """Letter by letter, under the indices that published code swaps; and no other label turns under a mirror."""
    file = shared_data / "annotations" / "something-something-v2-labels.json"
    official = {int(index): label for label, index in json.loads(file.read_text(encoding="utf-8")).items()}
    swaps = load_config(ROOT / "params" / "ssv2.yaml").data.hflip_swaps
    assert [tuple(official[i] for i in pair) for pair in MIRRORED] == list(swaps)
    labels = [official[i] for i in range(174)]
    table = swap_table(labels, swaps, "data.hflip_swaps")
    assert {(a, int(b)) for a, b in enumerate(table) if a < b} == set(MIRRORED)
    sided = {i for i, label in official.items() if re.search(r"\b(to|camera) (left|right)\b", label)}
    assert sided == {i for pair in MIRRORED for i in pair}
