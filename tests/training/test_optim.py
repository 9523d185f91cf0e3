"""Global batch size, its learning rate, and resuming only with the same global batch size."""

import dataclasses

import pytest

from hitagu_lib import build_model
from hitagu_lib.config import Config, TrainConfig
from hitagu_lib.errors import ConfigError
from hitagu_lib.training.optim import check_global_batch, make_optimizer, step_in_words


def test_the_learning_rate_is_proportional_to_the_global_batch_size() -> None:
    cfg = TrainConfig(lr=0.01, batch_size=8, accumulate=2)
    assert cfg.global_batch_size(4) == 64 and cfg.peak_lr(4) == 0.01
    scaled = dataclasses.replace(cfg, lr_batch=256)
    assert scaled.peak_lr(4) == pytest.approx(0.0025)
    assert scaled.peak_lr(32) == pytest.approx(0.02)
    assert step_in_words(scaled, 4) == (
        "a step: 64 clips = 4 processes x batch 8 x accumulate 2; peak learning rate 0.0025 = train.lr 0.01 x 64 / 256"
    )
    assert (
        step_in_words(TrainConfig(), 1)
        == "a step: 8 clips = 1 process x batch 8 x accumulate 1; peak learning rate 0.01"
    )


def test_a_warm_up_that_never_ends_is_said() -> None:
    assert "not reached" not in step_in_words(TrainConfig(epochs=3, warmup_epochs=2.9), 1)
    said = step_in_words(TrainConfig(epochs=3, warmup_epochs=3), 1)
    assert said.endswith(", which is not reached: train.warmup_epochs 3 is no shorter than train.epochs 3")


def test_a_run_resumes_only_with_the_same_global_batch_size() -> None:
    cfg = Config(run="outputs/mine", train=TrainConfig(batch_size=4))
    check_global_batch(cfg, None, 3)
    check_global_batch(cfg, 8, 2)
    with pytest.raises(
        ConfigError, match=r"outputs/mine: .* steps have 16 clips; .* = 8; expected train\.accumulate=2$"
    ):
        check_global_batch(cfg, 16, 2)
    with pytest.raises(ConfigError, match=r"= 4; expected another train\.batch_size or number of processes$"):
        check_global_batch(cfg, 6, 1)


def test_weight_decay_is_on_a_grus_matrices_too(tiny_cfg: Config) -> None:
    """nn.GRU calls them weight_ih_l0 and weight_hh_l0."""
    model = build_model(dataclasses.replace(tiny_cfg.model, temporal="gru"), 4)
    decayed, free = make_optimizer(model, tiny_cfg.train, rate=0.01).param_groups
    assert {id(p) for p in model.gru.parameters() if p.ndim > 1} <= {id(p) for p in decayed["params"]}
    assert all(p.ndim == 1 for p in free["params"])
