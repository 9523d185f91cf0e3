"""hitagu_lib/models/weights.py: a checkpoint whose keys do not fit says which; wrappers' prefixes are no difference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hitagu_lib.cli.main import main
from hitagu_lib.config import BackboneConfig, Config
from hitagu_lib.errors import WeightsError
from hitagu_lib.evaluation.evaluate import evaluate
from hitagu_lib.inference.export import export_checkpoint
from hitagu_lib.inference.predict import load_model
from hitagu_lib.models.backbone import TruncatedResNet
from hitagu_lib.models.weights import key_difference, load_backbone, load_weights, unwrapped
from hitagu_lib.runs.checkpoint import load_checkpoint

State = dict[str, Any]


def test_prefixes_of_wrappers_are_taken_off() -> None:
    keys = ["stem.0.weight", "head.bias"]
    for written in (
        ["module.stem.0.weight", "module.head.bias"],
        ["_orig_mod.stem.0.weight", "_orig_mod.head.bias"],
        ["module._orig_mod.stem.0.weight", "module._orig_mod.head.bias"],
        ["_orig_mod.module.stem.0.weight", "_orig_mod.module.head.bias"],
        ["stem._orig_mod.0.weight", "head.bias"],  # a part that was compiled by itself
        keys,
    ):
        assert list(unwrapped(dict.fromkeys(written, torch.zeros(1)))) == keys
    mixed = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert unwrapped(mixed) == mixed, "a network may have a part of that name"
    assert unwrapped({}) == {}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoint_of_a_wrapped_model_loads(prefix: str, untrained: Path) -> None:
    state = load_checkpoint(untrained)
    torch.save(state | {"model": {prefix + key: value for key, value in state["model"].items()}}, untrained)
    loaded = load_model(untrained)[0].state_dict()
    assert loaded.keys() == state["model"].keys()
    assert all(torch.equal(value, state["model"][key]) for key, value in loaded.items())


def test_backbone_weights_of_a_wrapped_model_load() -> None:
    cfg = BackboneConfig(name="resnet18", cut="layer1", weights=None)
    given, backbone = TruncatedResNet(cfg), TruncatedResNet(cfg)
    load_backbone(backbone, {f"module.{key}": value for key, value in given.state_dict().items()}, "a test")
    assert all(torch.equal(value, given.state_dict()[key]) for key, value in backbone.state_dict().items())


def other_class_count(state: State) -> State:
    return state | {"classes": state["classes"][:5]}


def another_model(state: State) -> State:
    return state | {"params": state["params"] | {"model": state["params"]["model"] | {"temporal": "gru"}}}


def a_part_is_missing(state: State) -> State:
    return state | {"model": {key: value for key, value in state["model"].items() if not key.startswith("head.")}}


MISFITS: list[tuple[Callable[[State], State], str]] = [
    (
        other_class_count,
        r"of another shape head\.linear\.weight \(there \(14, 64\), here \(5, 64\)\), head\.linear\.bias",
    ),
    (another_model, r"only there mde\..* and \d+ more; only here gru\.weight_ih_l0, gru\."),
    (a_part_is_missing, r"only here head\.linear\.weight, head\.linear\.bias \(there: in the file"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "message"), MISFITS, ids=["classes", "model", "part"])
def test_a_checkpoint_that_does_not_fit_its_own_params_is_explained(
    change: Callable[[State], State], message: str, untrained: Path, tiny_cfg: Config, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    torch.save(change(torch.load(untrained)), untrained)
    message = (
        f"last.pt: its weights do not fit the network .* describe: {message}.*; use a checkpoint as `hitagu train`"
    )
    for use in (
        lambda: load_model(untrained),
        lambda: evaluate(tiny_cfg, untrained),
        lambda: export_checkpoint(untrained, tmp_path / "out.pt2"),
    ):
        with pytest.raises(WeightsError, match=message):
            use()
    assert main(["predict", str(tmp_path), "--checkpoint", str(untrained)]) == 2
    assert "its weights do not fit" in capsys.readouterr().err


def test_weights_that_do_not_fit_leave_the_network_as_it_was() -> None:
    network = torch.nn.Linear(2, 2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"a test: .*of another shape bias \(there \(3,\), here \(2,\)\)"):
        load_weights(network, {"weight": torch.ones(2, 2), "bias": torch.ones(3)}, "a test")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert key_difference(before, network.state_dict()) == ""


def test_weights_that_are_no_numbers_are_refused() -> None:
    network = torch.nn.Linear(2, 2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"a test: bias: found nan or infinity; expected numbers"):
        load_weights(network, {"weight": torch.ones(2, 2), "bias": torch.tensor([0.0, torch.nan])}, "a test")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("params", [1], "params: found list; expected a mapping"),
        ("classes", None, "classes: found NoneType; expected a list of labels"),
        ("classes", [1, 2], "classes: found list; expected a list of labels"),
        ("model", [1], "model: found list; expected tensors by name"),
        ("model", {"epoch": 3}, "model: found dict; expected tensors by name"),
        ("params", {"model": {"quantum": 1}}, r"quantum: unknown .*written by hitagu_lib 9\.9 .* use the version that wrote"),
        ("params", {"model": {"stu": {"width": "wide"}}}, r"model\.stu\.width: .*written by hitagu_lib 9\.9"),
        ("params", {"holo": {}}, r"holo.*written by hitagu_lib 9\.9"),
    ],
)  # fmt: skip
def test_a_checkpoint_with_parts_that_this_version_cannot_read_is_named(
    key: str, value: object, message: str, untrained: Path
) -> None:
    torch.save(torch.load(untrained) | {key: value, "hitagu_lib": "9.9"}, untrained)
    with pytest.raises(WeightsError, match=rf"{untrained}: .*{message}"):
        load_model(untrained)
