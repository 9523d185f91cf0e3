"""params/ablations: each file leaves out what it names, and nothing else; a part that is left out has no parameters."""

from pathlib import Path

import pytest
import torch

from hitagu_lib import build_model
from hitagu_lib.config import ModelConfig, flat, load_config, read_params, resolve
from hitagu_lib.errors import ConfigError
from hitagu_lib.models import ClipModel
from hitagu_lib.models.losses import TotalLoss

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "params" / "ablations").glob("*.yaml"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_an_ablation_differs_from_its_base_in_what_it_names_and_can_be_built(file: Path) -> None:
    mapping = read_params(file)
    cfg, base = load_config(file), load_config(mapping["base"])
    ours, theirs = flat(cfg.to_mapping()), flat(base.to_mapping())
    changed = {key for key in ours if ours[key] != theirs[key]}
    assert changed == set(flat(mapping)) - {"base"}
    assert len(changed) > 1 and cfg.run == f"outputs/ablations/{file.stem}"
    assert file.read_text(encoding="utf-8").startswith("# ")

    torch.manual_seed(0)
    net = build_model(cfg.model, 4)
    x, labels = torch.randn(2, 3, 3, 32, 32), torch.tensor([1, 3])
    logits, maps = net(x, return_embeddings=True)
    loss, _ = TotalLoss(cfg.train, 4, net.clip_width)(logits, maps, labels)
    loss.backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None]
    assert loss.isfinite() and not unused


# Each switch by itself, on a network with two taps

SMALL = {
    "backbone": {"name": "resnet18", "cut": "layer2"},
    "mde": {"taps": ["layer1", "layer2"], "reduced": 4, "width": 6, "shift_radius": 1},
    "stu": {"width": 8},
    "attention": {"sca_reduction": 16, "sca_kernel": 3, "tsa_width": 16, "tsa_heads": 2},
}


def config(section: str = "", **changes: object) -> ModelConfig:
    return resolve({"model": SMALL | ({section: SMALL[section] | changes} if section else {})}).model


def awake(cfg: ModelConfig) -> ClipModel:
    """In float64 and evaluation, no parameter at zero."""
    torch.manual_seed(0)
    net = build_model(cfg, 4).double().eval()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net


# What is changed, the parameters that go with it, and those of the whole network which at zero silence the same part.
SWITCHES = [
    ("mde", {"enabled": False}, ["mde."], ["mde.W_a.", "mde.W_e."]),
    ("mde", {"gate": False}, ["mde.W_a."], ["mde.W_a."]),
    ("mde", {"embedding": False}, ["mde.W_e."], ["mde.W_e."]),
    ("mde", {"taps": ["layer1"]}, ["mde.reducers.1.", "mde.trunks.1."], []),
    ("mde", {"difference_kernel": 1}, ["mde.trunks.0.difference.K.", "mde.trunks.1.difference.K."], []),
    ("mde", {"reads": ["map"]}, ["mde.trunks.0.difference.K.", "mde.trunks.1.difference.K."], []),
    ("mde", {"shift_radius": 0}, ["mde.trunks.0.match.", "mde.trunks.1.match."], []),
    ("stu", {"enabled": False}, ["stu."], ["stu.W_o."]),
    ("stu", {"broadcast": "none"}, ["stu.G.", "stu.H."], ["stu.G.", "stu.H."]),
    ("attention", {"sca": False}, ["sca."], []),
    ("attention", {"sca_gates": ["spatial"]}, ["sca.bottleneck."], []),
    ("attention", {"sca_gates": ["channel"]}, ["sca.conv."], []),
    ("attention", {"tsa": False}, ["tsa."], ["tsa.out."]),
    ("attention", {"tsa_position": False}, ["tsa.position."], ["tsa.position."]),
]


def test_relative_times_have_slopes_in_the_place_of_the_position_code() -> None:
    relative = dict(awake(config("attention", tsa_relative=True)).named_parameters())
    absolute = dict(awake(config()).named_parameters())
    assert set(relative) - set(absolute) == {"tsa.slopes"} and set(absolute) - set(relative) == {"tsa.position.weight"}


@pytest.mark.parametrize(("section", "change", "gone", "silencing"), SWITCHES, ids=str)
def test_what_is_left_out_has_no_parameters_and_the_rest_is_wired_as_before(
    section: str, change: dict, gone: list[str], silencing: list[str]
) -> None:
    whole, without = awake(config()), awake(config(section, **change))
    names, kept = dict(whole.named_parameters()), dict(without.named_parameters())
    assert set(names) - set(kept) == {name for name in names if name.startswith(tuple(gone))} != set()
    assert set(kept) < set(names)
    x = torch.randn(2, 5, 3, 32, 32, dtype=torch.float64)
    t = torch.tensor([[0.0, 1, 3, 4, 4.5], [0, 2, 3, 5, 6]], dtype=torch.float64)
    assert torch.equal(without(x, t, return_maps=True)[0], without(x, t))
    if silencing:
        with torch.no_grad():
            for name, parameter in names.items():
                if name.startswith(tuple(silencing)):
                    parameter.zero_()
        state = without.state_dict()
        without.load_state_dict({name: value for name, value in whole.state_dict().items() if name in state})
        torch.testing.assert_close(without(x, t), whole(x, t))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"mde": {"gate": False, "embedding": False}},
            r"model\.mde\.gate: found false, and embedding false; expected one of them, or",
        ),
        ({"mde": {"reads": [], "shift_radius": 0}}, r"model\.mde\.reads: found none, and shift_radius 0"),
        ({"mde": {"reads": ["map", "map"]}}, r"model\.mde\.reads: found \['map', 'map'\]; expected each name once"),
        ({"mde": {"taps": ["layer3", "layer3"]}}, r"model\.mde\.taps: found .*; expected each name once"),
        ({"mde": {"reads": ["forwards"]}}, r"found 'forwards'; expected one of .*; did you mean forward\?"),
        ({"mde": {"difference_kernel": 2}}, r"difference_kernel: found 2; expected one of 1, 3"),
        ({"mde": {"trunk_blocks": -1}}, r"trunk_blocks: found -1; expected from 0 to 8"),
        ({"attention": {"sca_gates": []}}, r"model\.attention\.sca_gates: found none; expected a gate, or sca: false"),
        ({"attention": {"sca_gates": ["spatial", "spatial"]}}, r"sca_gates: found .*; expected each name once"),
    ],
    ids=str,
)
def test_switches_that_leave_nothing_are_refused(model: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve({"model": model})


def test_what_is_switched_off_may_hold_anything() -> None:
    assert resolve({"model": {"temporal": "tsn", "backbone": {"cut": "layer1"}}}).model.mde.enabled  # but TSN has none
    off = {"mde": {"enabled": False, "gate": False, "embedding": False}, "attention": {"sca": False, "sca_gates": []}}
    assert not resolve(
        {"model": {"backbone": {"cut": "layer1"}} | off}
    ).model.mde.enabled  # its taps lie beyond the cut
