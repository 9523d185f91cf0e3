"""Make learners and batches of the tiny data, for tests in one process and, in several, for tests/helpers/torchrun_worker.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from hitagu_lib.config import Config
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import Batch, collate
from hitagu_lib.data.source import open_lists
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.training.learner import Learner


def with_train(cfg: Config, **changes: object) -> Config:
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, **changes))


def without_statistics(cfg: Config) -> Config:
    """Drop all that depends on the whole batch or on chance; use every loss, and clips played backwards."""
    model = dataclasses.replace(
        cfg.model,
        dropout=0.0,
        mde=dataclasses.replace(cfg.model.mde, enabled=False),
        stu=dataclasses.replace(cfg.model.stu, enabled=False),
        backbone=dataclasses.replace(cfg.model.backbone, frozen_bn=True),
    )
    losses = {"center_loss": True, "temporal_loss": True, "both_directions": True}
    cfg = with_train(cfg, optimizer="sgd", lr=0.05, warmup_epochs=0.0, **losses)
    return dataclasses.replace(cfg, model=model)


def make_learner(cfg: Config) -> Learner:
    torch.manual_seed(0)
    learner = Learner(cfg, open_lists(cfg.data)[0].classes, 4, make_accelerator(cfg.train))
    learner.model.train()
    return learner


def batch_of(cfg: Config, rows: Sequence[int], bad: Sequence[str] = ()) -> Batch:
    dataset = ClipDataset(open_lists(cfg.data)[0], cfg.data, train=True)
    return collate([*(dataset[0, row] for row in rows), *bad])
