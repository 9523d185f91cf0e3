"""The training chapter as its users run it: through papermill, on the tiny data."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from hitagu_lib.config import Config

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = ROOT / "book" / "03_train.ipynb"


def run_chapter(out: Path, **parameters: object) -> nbformat.NotebookNode:
    papermill.execute_notebook(str(CHAPTER), str(out), parameters=parameters, cwd=str(ROOT), progress_bar=False)
    return nbformat.read(out, as_version=4)


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text", "") for output in outputs)


def test_the_chapter_trains_from_the_sections_of_a_params_file(tiny_cfg: Config, tmp_path: Path) -> None:
    """As `-f params.yaml -p overrides "..."` hands them over: sections merge over `base`, overrides over both."""
    sections = tiny_cfg.to_mapping()
    run = sections.pop("run")
    notebook = run_chapter(
        tmp_path / "out.ipynb", run=run, overrides="train.epochs=1 train.center_loss=true", **sections
    )
    summary = json.loads((Path(run) / "summary.json").read_text())
    assert summary["epochs"] == 1
    params = yaml.safe_load((Path(run) / "params.yaml").read_text())
    assert params["train"]["center_loss"] is True and params["train"]["batch_size"] == 8
    text = text_of(notebook)
    assert yaml.safe_dump(params["train"], sort_keys=False, width=120).splitlines()[0] in text, (
        "the resolved parameters are shown"
    )
    assert f"val_top1: {summary['val_top1']}" in text
    assert "epoch 1/1: loss" in text and "\r" not in text, "quiet text under papermill"
    images = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(images) >= 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overrides": "train.epoch=2"}, r"train\.epoch: unknown key; did you mean epochs\?"),
        ({"train": {"lr": "fast"}}, r"train\.lr: found 'fast' \(str\); expected float"),
        ({"base": "params/k700.yaml"}, r"data\.root: data/k700/frames: no such folder"),
        ({"base": "params/nini.yaml"}, r"no such params file .*did you mean params/mini\.yaml\?"),
    ],
    ids=["unknown key", "wrong type", "missing path", "missing file"],
)
def test_bad_parameters_stop_in_the_first_cell(tmp_path: Path, parameters: dict, message: str) -> None:
    with pytest.raises(papermill.PapermillExecutionError, match=message):
        run_chapter(tmp_path / "out.ipynb", **parameters)
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    executed = [c for c in notebook.cells if c.cell_type == "code" and c.execution_count is not None]
    code = [c for c in executed if not {"parameters", "injected-parameters"} & set(c.metadata.tags)]
    assert len(code) == 1
