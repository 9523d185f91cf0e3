"""A model built under a seed has the same parameters on any machine.

Compared are each tensor's sum and norm, rounded, with what one machine drew: the generator's stream is the same everywhere, but the last
bits of a normal draw hang on the processor's vector instructions, and those of a sum on the number of threads.
After a change of the model: `python tests/models/test_seed.py` writes the numbers anew.
"""

import json
from pathlib import Path

import pytest
import torch

from hitagu_lib import build_model
from hitagu_lib.config import ModelConfig, resolve

DRAWN = Path(__file__).with_name("seeded_parameters.json")
MODELS = ["hitagu", "tsn", "tsm", "gru"]


def small(temporal: str = "hitagu") -> ModelConfig:
    backbone = {"name": "resnet18", "cut": "layer2"}
    return resolve({"model": {"temporal": temporal, "backbone": backbone, "mde": {"taps": ["layer1", "layer2"]}}}).model


def parameters(temporal: str) -> dict[str, list[float]]:
    """Tensor name -> [sum, norm] of a small model under seed 0."""
    torch.manual_seed(0)
    model = build_model(small(temporal), 5)
    return {
        name: [float(f"{value.double().sum():.6g}"), float(f"{value.double().norm():.6g}")]
        for name, value in model.named_parameters()
    }


@pytest.mark.parametrize("temporal", MODELS)
def test_a_seed_gives_the_same_parameters_on_any_machine(temporal: str) -> None:
    drawn, built = json.loads(DRAWN.read_text())[temporal], parameters(temporal)
    assert built.keys() == drawn.keys(), "the model has changed: python tests/models/test_seed.py"
    for name, (total, norm) in drawn.items():
        # A sum of many draws nearly cancels: its rounding is measured by the norm.
        assert built[name] == pytest.approx([total, norm], rel=1e-5, abs=1e-4 * max(norm, 1e-3)), name


def test_another_seed_gives_other_parameters() -> None:
    """The comparison above would notice another seed."""
    drawn = json.loads(DRAWN.read_text())["hitagu"]
    torch.manual_seed(1)
    model = build_model(small(), 5)
    total, norm = drawn["backbone.stem.0.weight"]
    assert model.backbone.stem[0].weight.sum().item() != pytest.approx(total, rel=1e-5, abs=1e-4 * norm)


if __name__ == "__main__":
    lines = [f'"{temporal}": {json.dumps(parameters(temporal))}' for temporal in MODELS]
    DRAWN.write_text("{\n" + ",\n".join(lines).replace("], ", "],\n ") + "\n}\n")
