"""The names that a script imports from hitagu_lib, used as a script uses them: train, evaluate, predict."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import hitagu_lib
from hitagu_lib.config import Config
from hitagu_lib.data.source import open_lists


@pytest.mark.slow
def test_a_script_trains_evaluates_and_predicts(tiny_cfg: Config) -> None:
    from hitagu_lib import build_model, evaluate, fit, load_config, predict

    assert load_config("params/mini.yaml", "train.epochs=3").train.epochs == 3
    classes = list(open_lists(tiny_cfg.data)[0].classes)
    assert build_model(tiny_cfg.model, len(classes)).head.linear.out_features == 14
    cfg = dataclasses.replace(tiny_cfg, train=dataclasses.replace(tiny_cfg.train, epochs=1))
    summary = fit(cfg)
    checkpoint = Path(cfg.run, "checkpoints", "last.pt")
    assert evaluate(cfg, checkpoint)["top1"] == pytest.approx(summary["val_top1"])
    prediction = predict(next(Path(cfg.data.root, "val").glob("*/*")), checkpoint)
    assert sorted(prediction.labels) == sorted(classes) and len(prediction.probabilities) == 14


def test_every_public_name_is_there_and_no_other() -> None:
    assert {"load_config", "build_model", "fit", "evaluate", "predict"} < set(hitagu_lib.__all__)
    assert all(getattr(hitagu_lib, name) for name in hitagu_lib.__all__)
    assert set(hitagu_lib.__all__) <= set(dir(hitagu_lib)), "completion offers them"
    with pytest.raises(AttributeError, match="module 'hitagu_lib' has no attribute 'trian'"):
        _ = hitagu_lib.trian


def test_the_package_alone_does_not_load_torch() -> None:
    code = "import sys, hitagu_lib; hitagu_lib.load_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
