"""hitagu_lib/models/cost.py: counts against counts by hand, published counts and the book's budget."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet50_Weights

from hitagu_lib import build_model
from hitagu_lib.config import Config, load_config, resolve
from hitagu_lib.errors import ListError
from hitagu_lib.models.cost import (
    budget,
    count_classes,
    markdown_table,
    model_cost,
    model_report,
    model_report_text,
    recipe_cost,
    shape_model,
)
from hitagu_lib.models.stu import ThreeStateTemporalUnit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ssv2() -> Config:
    return load_config(ROOT / "params" / "ssv2.yaml")


def small(**changes: object) -> Config:
    model = {
        "backbone": {"name": "resnet18", "cut": "layer2"},
        "mde": {"taps": ["layer1"], "reduced": 8, "width": 16},
        "stu": {"width": 24},
        "attention": {"sca_kernel": 3, "tsa_width": 16, "tsa_heads": 2},
    }
    return resolve({"data": {"num_frames": 4, "image_size": 48}, "model": model | changes})


def test_the_recipe_is_within_the_books_budget(ssv2: Config) -> None:
    assert (ssv2.model.backbone.name, ssv2.model.backbone.cut) == ("resnet50", "layer4")
    assert (ssv2.data.num_frames, ssv2.data.image_size, ssv2.model.temporal) == (8, 224, "hitagu")
    total = recipe_cost(ssv2, 174)["total"]
    assert 32.9 < total.gflops <= 34.5
    assert 23.9 < total.params_millions <= 28


@pytest.mark.slow
def test_tsn_costs_what_torchvision_says_of_its_resnet50(ssv2: Config) -> None:
    """torchvision publishes multiply-adds (10^9) and parameters for one frame, with its own layer of 1,000 classes."""
    meta = ResNet50_Weights.IMAGENET1K_V2.meta
    costs = budget(ssv2, 1000)
    assert costs["TSN"].params_millions == meta["num_params"] / 1e6
    per_frame = costs["backbone"].gflops / 8 + 2048 * 1000 / 1e9
    assert per_frame == pytest.approx(meta["_ops"], abs=5e-4)  # published with three decimals


@pytest.mark.slow
def test_the_baselines_differ_by_what_they_add(ssv2: Config) -> None:
    costs = budget(ssv2, 174)
    assert costs["TSM"] == costs["TSN"]  # a shift multiplies nothing and learns nothing
    width, frames = 2048, 8
    gru = 2 * 3 * width * width  # input and state to three gates
    assert costs["GRU"].gflops - costs["TSN"].gflops == pytest.approx(frames * gru / 1e9, rel=1e-9)
    assert costs["GRU"].params_millions - costs["TSN"].params_millions == pytest.approx((gru + 6 * width) / 1e6)
    assert costs["TSN"].gflops - costs["backbone"].gflops == pytest.approx(width * 174 / 1e9, rel=1e-4)


def test_attention_is_counted_by_hand() -> None:
    """TSA: qkv and position code to 3 widths, queries with keys, weights with values, and out again."""
    (C, width, T), cost = (128, 16, 4), recipe_cost(small(), 5)["tsa"]
    by_hand = T * (C * 3 * width + width * 3 * width + width * C) + 2 * T * T * width
    assert cost.gflops == pytest.approx(by_hand / 1e9, rel=1e-9)


def test_shift_matching_is_counted_once() -> None:
    """One row of the map against 2 radius + 1 rows, each wider by 2 radius, plus the extra channels in the trunk's first block."""
    R, T, grid, top, width = 8, 4, 12, 6, 16
    costs = [
        recipe_cost(small(mde={"taps": ["layer1"], "reduced": R, "width": width, "shift_radius": radius}), 5)["mde"]
        for radius in (1, 2)
    ]
    more = 25 - 9
    match = R * grid * grid * T * (5 * (grid + 4) - 3 * (grid + 2))
    first_block = (9 + 1) * more * width * top * top * T  # conv1 3x3 and the shortcut's 1x1, stride 2
    assert costs[1].gflops - costs[0].gflops == pytest.approx((match + first_block) / 1e9, rel=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_the_modules_add_up_to_the_total(causal: bool) -> None:
    for temporal in ("hitagu", "tsn", "tsm", "gru"):
        costs = recipe_cost(small(temporal=temporal, causal=causal), 5)
        total = costs.pop("total")
        assert sum(c.gflops for c in costs.values()) == pytest.approx(total.gflops)
        assert sum(c.params_millions for c in costs.values()) == pytest.approx(total.params_millions)
        assert min(c.params_millions for c in costs.values()) > 0


def test_a_part_may_be_resumed_by_keywords(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = recipe_cost(small(), 5)
    monkeypatch.setattr(ThreeStateTemporalUnit, "forward", lambda self, u, t: self.resume(u, t, before=None)[:2])
    assert recipe_cost(small(), 5) == costs


def test_a_real_model_costs_what_its_shapes_do_and_is_left_as_it_was() -> None:
    cfg = small()
    torch.manual_seed(0)
    model = build_model(cfg.model, 5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert model_cost(model, 4, 48) == recipe_cost(cfg, 5)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(tensor.device.type == "cpu" for tensor in model.state_dict().values())
    assert not any(module._forward_hooks or "resume" in vars(module) for module in model.modules())


def test_counting_needs_no_values_and_no_pretrained_weights(ssv2: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    assert ssv2.model.backbone.weights == "IMAGENET1K_V2"
    assert all(p.device.type == "meta" for p in shape_model(ssv2.model, 174).parameters())


def test_the_budget_table_has_modules_then_models() -> None:
    costs = budget(small(), 5)
    assert list(costs) == ["backbone", "mde", "stu", "sca", "tsa", "head", "HiTAGU-Net", "TSN", "TSM", "GRU"]
    lines = markdown_table(costs).splitlines()
    assert len(lines) == 12 and {line.count("|") for line in lines} == {4}
    tsn = costs["TSN"]
    cells = [cell.strip() for cell in lines[9].strip("|").split("|")]
    assert cells == ["TSN", f"{tsn.gflops:.4f}", f"{tsn.params_millions:.3f}"]
    assert lines[1].endswith(":|") and lines[1].count(":") == 3, "names to the left, numbers to the right"


def test_the_number_of_classes_is_given_counted_or_declared_an_assumption(tmp_path: Path) -> None:
    cfg = resolve({"data": {"train_list": str(tmp_path / "train.csv")}})
    number, source = count_classes(cfg)
    assert number == 174 and f"assumed, Something-Something V2's number; {tmp_path / 'classes.txt'} is not" in source
    (tmp_path / "classes.txt").write_text("closing\nopening\n")
    assert count_classes(cfg) == (2, f"the lines of {tmp_path / 'classes.txt'}")
    assert count_classes(cfg, 7) == (7, "as given")
    (tmp_path / "other.txt").write_text("a\nb\nc\n")
    own = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, classes=str(tmp_path / "other.txt")))
    assert count_classes(own)[0] == 3
    (tmp_path / "classes.txt").write_text("closing\n\n")
    with pytest.raises(ListError, match=r"classes\.txt:2: found an empty line"):
        count_classes(cfg)


def test_the_report_names_the_model_and_the_clip() -> None:
    report = model_report(small(), 5)
    assert {"gflops", "params_millions", "modules"} <= report.keys()
    assert all(cost.keys() == {"gflops", "params_millions"} for cost in report["modules"].values())
    assert sum(cost["gflops"] for cost in report["modules"].values()) == pytest.approx(report["gflops"])
    text = model_report_text(report)
    assert "hitagu on resnet18 up to layer2\none view of 4 frames, 48 x 48 pixels\n5 classes (as given)\n" in text
    total = next(line for line in text.splitlines() if line.startswith("total"))
    assert total.split() == ["total", f"{report['gflops']:.4f}", f"{report['params_millions']:.3f}"]
