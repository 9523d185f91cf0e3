"""One step: accumulated batches equal one big batch, every clip has the same weight, the average follows, NaN stops training."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from training_steps import batch_of, make_learner, with_train, without_statistics

from hitagu_lib.config import Config
from hitagu_lib.data.source import open_lists
from hitagu_lib.errors import ClipError, ConfigError, TrainingError, WeightsError
from hitagu_lib.inference.accelerator import make_accelerator
from hitagu_lib.training import learner as learning
from hitagu_lib.training.learner import Learner


def assert_same_weights(ours: Learner, theirs: Learner, tolerance: float) -> None:
    for name in ("model", "criterion"):
        a, b = ours.state_dict()[name], theirs.state_dict()[name]
        assert a.keys() == b.keys()
        for key in a:
            torch.testing.assert_close(
                a[key], b[key], atol=tolerance, rtol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.slow
def test_accumulated_batches_equal_one_big_batch_whatever_their_sizes(tiny_cfg: Config) -> None:
    cfg = without_statistics(tiny_cfg)
    whole = make_learner(with_train(cfg, batch_size=8))
    parts = make_learner(with_train(cfg, batch_size=4, accumulate=3))
    for start in (0, 8, 16):
        rows = range(start, start + 8)
        expected = whole.step([batch_of(cfg, rows)])
        # one batch lacks an unreadable clip, one has no clip left, the last is smaller
        shares = [batch_of(cfg, rows[:5]), batch_of(cfg, [], ["gone", "gone"]), batch_of(cfg, rows[5:], ["gone"])]
        values = parts.step(shares)
        assert values == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert values["clips"] == 8
    assert whole.steps == parts.steps == 3
    assert_same_weights(parts, whole, 1e-5)


def test_the_logged_norm_is_the_one_before_clipping(tiny_cfg: Config) -> None:
    cfg = without_statistics(tiny_cfg)
    norms, left = [], []
    for clip_norm in (0.0, 0.01):
        learner = make_learner(with_train(cfg, clip_norm=clip_norm))
        norms.append(learner.step([batch_of(cfg, range(8))])["grad_norm"])
        gradients = [p.grad.norm() for p in learner.model.parameters() if p.grad is not None]
        left.append(torch.stack(gradients).norm().item())
    assert norms == pytest.approx([left[0]] * 2, rel=1e-5)
    assert left[1] == pytest.approx(0.01, rel=1e-3)


def test_a_step_without_a_readable_clip_is_an_error(tiny_cfg: Config) -> None:
    learner = make_learner(with_train(tiny_cfg, accumulate=2))
    with pytest.raises(ClipError, match=r"no clip of a whole step could be read; the first: list\.csv:1: gone"):
        learner.step([batch_of(tiny_cfg, [], ["list.csv:1: gone"]), batch_of(tiny_cfg, [], ["list.csv:2: gone"])])


def test_nan_stops_training_before_it_reaches_the_weights(tiny_cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner(with_train(without_statistics(tiny_cfg), accumulate=2))
    before = {name: value.clone() for name, value in learner.state_dict()["model"].items()}
    good, spoilt = batch_of(tiny_cfg, [0, 1, 2]), batch_of(tiny_cfg, [7, 5])
    with monkeypatch.context() as patch:
        patch.setattr(learning, "normalise", lambda f: torch.full(f.shape, math.nan if len(f) == 2 else 0.5))
        with pytest.raises(learning.NotANumber, match=r"the loss is nan at step 0 ") as caught:
            learner.step([good, spoilt])
        assert caught.value.rows == [5, 7]
    with monkeypatch.context() as patch:
        patch.setattr(learner.accelerator, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
        with pytest.raises(TrainingError, match=r"the gradient's norm is inf at step 0 "):
            learner.step([good, spoilt])
    after = learner.state_dict()["model"]
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_the_average_follows_the_weights_and_is_the_checkpoints_model(tiny_cfg: Config) -> None:
    cfg = with_train(without_statistics(tiny_cfg), ema=0.75)
    learner, plain = make_learner(cfg), make_learner(with_train(cfg, ema=0.0))
    expected: dict[str, torch.Tensor] = {}
    for start in (0, 8, 16):
        for each in (learner, plain):
            each.step([batch_of(cfg, range(start, start + 8))])
        now = {name: value.clone() for name, value in plain.state_dict()["model"].items()}
        expected = {k: 0.75 * expected[k] + 0.25 * v for k, v in now.items()} if expected else dict(now)
    state = learner.state_dict()
    for name, parameter in learner.evaluated.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-6, rtol=1e-5)
        assert torch.equal(state["model"][name], parameter)
        assert torch.equal(state["raw_model"][name], now[name]), "the average has no influence on the training"
    again = make_learner(cfg)
    again.load_state_dict(copy.deepcopy(state))
    for each in (learner, again):
        each.step([batch_of(cfg, range(24, 32))])
    assert_same_weights(again, learner, 0.0)
    assert again.averaged is not None and again.averaged.n_averaged == 4


def test_the_average_has_averaged_batch_statistics_too(tiny_cfg: Config) -> None:
    cfg = with_train(tiny_cfg, ema=0.75)
    learner, plain = make_learner(cfg), make_learner(with_train(cfg, ema=0.0))
    for each in (learner, plain):
        for start in (0, 8):
            each.step([batch_of(cfg, range(start, start + 8))])
    ours, raw = (dict(each.evaluated.named_buffers()) for each in (learner, plain))
    means = [name for name in raw if name.endswith("running_mean")]
    assert means and not all(torch.equal(ours[name], raw[name]) for name in means)


@pytest.mark.slow
def test_bf16_trains_on_the_cpu_and_comes_close_to_fp32(tiny_cfg: Config) -> None:
    values = {}
    for precision in ("fp32", "bf16", "fp32"):  # in one process, one after another
        cfg = with_train(without_statistics(tiny_cfg), precision=precision, ema=0.9)
        learner = make_learner(cfg)
        values[precision] = learner.step([batch_of(cfg, range(8))])
        assert all(p.dtype == torch.float32 for p in learner.evaluated.parameters())
    assert values["bf16"]["loss"] == pytest.approx(values["fp32"]["loss"], rel=0.02)
    assert values["bf16"]["loss"] != values["fp32"]["loss"]


def test_a_pass_of_weight_zero_leaves_the_batch_statistics(tiny_cfg: Config) -> None:
    learner = make_learner(tiny_cfg)
    before = {name: value.clone() for name, value in learner.model.named_buffers()}
    batch = batch_of(tiny_cfg, range(3))
    with learner._pass(0, last=True, counts=False):
        learner._losses(batch, *learner._targets(batch))
    assert all(torch.equal(value, before[name]) for name, value in learner.model.named_buffers())
    learner._losses(batch, *learner._targets(batch))
    assert not all(torch.equal(value, before[name]) for name, value in learner.model.named_buffers())


def test_fp16_is_refused_without_a_gradient_scaler(tiny_cfg: Config) -> None:
    if torch.accelerator.is_available():
        pytest.skip("a GPU has a scaler")
    with pytest.raises(ConfigError, match=r"train\.precision: found fp16, on the cpu, .*expected fp32, bf16 or auto"):
        make_learner(with_train(tiny_cfg, precision="fp16"))


@pytest.mark.slow
def test_a_step_that_overflows_fp16_is_skipped_and_all_others_are_scaled_back(tiny_cfg: Config) -> None:
    """Do on the CPU what a GPU does: scale gradients, their norm, and those of the centres, which have their own optimiser."""
    cfg = with_train(without_statistics(tiny_cfg), ema=0.5, lr=1e-4)
    plain = make_learner(cfg)
    accelerator = make_accelerator(dataclasses.replace(cfg.train, precision="fp16"))
    accelerator.native_amp = True
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-30)
    torch.manual_seed(0)
    scaled = Learner(cfg, plain.classes, 4, accelerator)
    scaled.model.train()
    before = {name: value.clone() for name, value in scaled.state_dict()["model"].items()}
    values = scaled.step([batch_of(cfg, range(8))])
    after = scaled.state_dict()
    assert "grad_norm" not in values and math.isfinite(values["loss"])
    assert all(torch.equal(before[name], after["model"][name]) for name in before)
    assert not after["criterion"]["center.centers"].any() and after["averaged"] == 0
    assert after["scaler"]["scale"] == 2.0**10
    for start in (8, 16):
        expected, values = (each.step([batch_of(cfg, range(start, start + 8))]) for each in (plain, scaled))
        for name in ("loss", "center", "grad_norm"):
            assert values[name] == pytest.approx(expected[name], rel=0.02), name
        assert values["lr"] == expected["lr"]
    ours, theirs = (each.state_dict()["criterion"]["center.centers"] for each in (scaled, plain))
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=1e-2)


@pytest.mark.parametrize("temporal", ["hitagu", "tsn", "tsm", "gru"])
def test_every_trainable_weight_gets_a_gradient(tiny_cfg: Config, temporal: str) -> None:
    """DistributedDataParallel would wait for ever for the gradient of an unused weight."""
    cfg = dataclasses.replace(tiny_cfg, model=dataclasses.replace(tiny_cfg.model, temporal=temporal))
    learner = make_learner(cfg)
    learner.step([batch_of(cfg, range(4))])
    unused = [name for name, p in learner.model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


def test_a_checkpoint_that_does_not_fit_is_described(tiny_cfg: Config) -> None:
    learner = make_learner(tiny_cfg)
    state = learner.state_dict()
    key, weight = next((key, value) for key, value in state["model"].items() if value.ndim == 4)
    for model, words in (
        (None, "model: found none"),
        ([weight], "model: found list"),
        ({k: v for k, v in state["model"].items() if k != key}, f"model: only here {key}"),
        (state["model"] | {"other.weight": weight}, "model: only there other.weight"),
        (
            state["model"] | {key: weight[:1]},
            f"model: of another shape {key} (there {(1, *weight.shape[1:])}, here {tuple(weight.shape)})",
        ),
    ):
        with pytest.raises(WeightsError) as caught:
            learner.load_state_dict(state | {"model": model})
        assert str(caught.value).startswith(
            f"{tiny_cfg.run}/checkpoints: {words} (there: in the file; here: in this run); expected "
        )
    with pytest.raises(WeightsError, match="optimizer: found other values than this run's"):
        learner.load_state_dict(state | {"optimizer": {"state": {}, "param_groups": []}})


def test_a_clip_played_backwards_has_the_label_of_its_partner(tiny_cfg: Config) -> None:
    names = list(open_lists(tiny_cfg.data)[0].classes)
    data = dataclasses.replace(tiny_cfg.data, reverse_swaps=((names[0], names[1]),))
    learner = make_learner(with_train(dataclasses.replace(tiny_cfg, data=data), both_directions=True))
    batch = batch_of(tiny_cfg, range(40))
    labels, backwards = learner._targets(batch)
    of_pair = [i for i, label in enumerate(batch["label"].tolist()) if label in (0, 1)]
    assert backwards.tolist() == of_pair and 0 < len(of_pair) < 40
    assert labels[:40].tolist() == batch["label"].tolist()
    assert labels[40:].tolist() == [1 - int(batch["label"][i]) for i in of_pair]


def test_the_rate_follows_the_clips_of_a_step_and_the_optimizer_is_the_one_asked_for(tiny_cfg: Config) -> None:
    cfg = with_train(without_statistics(tiny_cfg), batch_size=8, lr=0.05, lr_batch=32, momentum=0.9)
    sgd = make_learner(cfg)
    assert sgd.step([batch_of(cfg, range(8))])["lr"] == pytest.approx(0.05 * 8 / 32)
    assert isinstance(getattr(sgd.optimizer, "optimizer", sgd.optimizer), torch.optim.SGD)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in sgd.optimizer.param_groups)
    adamw = make_learner(with_train(cfg, optimizer="adamw")).optimizer
    assert isinstance(getattr(adamw, "optimizer", adamw), torch.optim.AdamW)


def test_each_place_in_the_global_batch_has_a_random_state_of_its_own(tiny_cfg: Config) -> None:
    """However the batch is divided among processes and passes, and another one in the next step."""
    learner = make_learner(with_train(tiny_cfg, accumulate=4))
    seeds = []
    for number in range(4):
        with learner._pass(number, last=True, counts=True):
            seeds.append(torch.initial_seed())
    learner.steps += 1
    with learner._pass(0, last=True, counts=True):
        assert torch.initial_seed() not in seeds
    divided = []
    for process in range(2):
        half = make_learner(with_train(tiny_cfg, accumulate=2))
        half.accelerator = SimpleNamespace(num_processes=2, process_index=process)
        for number in range(2):
            with half._pass(number, last=True, counts=True):
                divided.append((number * 2 + process, torch.initial_seed()))
    assert len(set(seeds)) == 4 and [seed for _, seed in sorted(divided)] == seeds
