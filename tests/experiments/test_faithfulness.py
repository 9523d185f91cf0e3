"""experiments/faithfulness.py: every map against every control on a run, and what it refuses."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from experiments import faithfulness
from hitagu_lib.config import Config
from hitagu_lib.errors import ConfigError
from hitagu_lib.evaluation.faithfulness import PAINTS
from hitagu_lib.models import build_model


@pytest.fixture()
def run(untrained: Path) -> Path:
    """The folder of a run whose checkpoint is that of an untrained network with maps that differ."""
    provenance = {"git_commit": "0" * 40, "git_changed": False}
    (untrained.parents[1] / "provenance.json").write_text(json.dumps(provenance))
    return untrained.parents[1]


@pytest.mark.slow
def test_each_map_meets_each_control(run: Path, tmp_path: Path) -> None:
    paints = ["mean colour", "still"]
    faithfulness.main(["--runs", str(run), "--out", str(tmp_path / "out"), "--paints", *paints])
    gains = pd.read_csv(tmp_path / "out/gains.csv", keep_default_na=False)
    assert tuple(gains.columns) == faithfulness.COLUMNS
    assert set(gains["run"]) == {f"{run.as_posix()}, commit 000000000"}
    places = [
        (p, m, c)
        for p in paints
        for m in ("motion gate", "spatial gate", "Grad-CAM")
        for c in ("moved", "another clip's")
    ]
    expected = [*places, ("", faithfulness.FRAMES, "another clip's"), ("", faithfulness.FRAMES, "at random")]
    assert list(gains[["paint", "map", "control"]].itertuples(index=False, name=None)) == expected
    assert ((gains["control_area"] - gains["area"] - gains["gain"]).abs() < 2e-4).all()
    assert (gains["low"] <= gains["gain"]).all() and (gains["gain"] <= gains["high"]).all()
    assert json.loads((tmp_path / "out/provenance.json").read_text())["packages"]["torch"] in torch.__version__


def test_the_table_counts_verdicts_over_runs() -> None:
    def row(run: str, gain: float, verdict: str) -> dict[str, object]:
        return {"run": run, "paint": "still", "map": "Grad-CAM", "control": "moved", "gain": gain, "verdict": verdict}

    lines = faithfulness.table(
        pd.DataFrame([row("a", 0.2, "better"), row("b", 0.1, "better"), row("c", -0.03, "open")])
    )
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["Grad-CAM", "still", "+0.09; 2 / 1 / 0"]


def test_a_network_without_the_maps_is_refused(
    tiny_cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for changes, found in (
        ({"temporal": "tsm"}, "found model.temporal tsm"),
        ({}, "found a network without MDE's gate"),
    ):
        cfg = dataclasses.replace(tiny_cfg.model, **changes)
        if not changes:
            cfg = dataclasses.replace(cfg, mde=dataclasses.replace(cfg.mde, enabled=False))
        model = build_model(cfg, 14).eval()
        opened = (model, dataclasses.replace(tiny_cfg, model=cfg), [])
        monkeypatch.setattr(faithfulness, "load_model", lambda file, opened=opened: opened)
        with pytest.raises(ConfigError, match=found):
            list(faithfulness.measure(tmp_path, list(PAINTS)))
