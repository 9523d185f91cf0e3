"""Chapters as their users run them: through papermill, on tiny data."""

import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from media_fixtures import make_video

from hitagu_lib.config import Config

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "book" / "03_train.ipynb"


def run_chapter(executed: Path, chapter: Path = CHAPTER, **parameters: object) -> nbformat.NotebookNode:
    papermill.execute_notebook(str(chapter), str(executed), parameters=parameters, cwd=str(ROOT), progress_bar=False)
    return nbformat.read(executed, as_version=4)


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text", "") for output in outputs)


def markdown_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("data", {}).get("text/markdown", "") for output in outputs)


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
    text, markdown = text_of(notebook), markdown_of(notebook)
    (folded,) = re.findall(r"<details>.*?```yaml\n(.*?)```.*?</details>", markdown, re.DOTALL)
    assert yaml.safe_load(folded) == params, "the resolved parameters are shown"
    assert f"val_top1: {summary['val_top1']}" in text
    assert "epoch 1/1: loss" in text and "\r" not in text, "quiet text under papermill"
    images = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(images) >= 5
    assert re.search(r"The epoch ends (NOT )?below the loss of guessing", text), "the plain loop ran before fit()"
    links = re.findall(r"`([\w.]+)`, \[(\S+):(\d+)\]\(\.\./(\S+)#L(\d+)\)", markdown)
    assert [name for name, *_ in links] == ["make_loader", "TotalLoss", "Learner.step", "fit", "train"]
    for name, *file_and_line in links:
        assert file_and_line[:2] == file_and_line[2:]
        line = (ROOT / file_and_line[0]).read_text().splitlines()[int(file_and_line[1]) - 1]
        assert re.match(rf"\s*(def|class) {name.rpartition('.')[2]}\b", line), f"{name}: the link leads to {line!r}"


def test_bad_parameters_stop_in_the_first_cell(tmp_path: Path) -> None:
    """A missing path; tests/config/test_config.py has the other kinds, without a kernel."""
    with pytest.raises(papermill.PapermillExecutionError, match=r"data\.root: data/k700/frames: no such folder"):
        run_chapter(tmp_path / "out.ipynb", base="params/k700.yaml")
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    executed = [c for c in notebook.cells if c.cell_type == "code" and c.execution_count is not None]
    code = [c for c in executed if not {"parameters", "injected-parameters"} & set(c.metadata.tags)]
    assert len(code) == 1


def test_chapter_7_takes_a_folder_of_the_reader_s(tmp_path: Path) -> None:
    """Two classes of two sources; params/own.yaml with a smaller network, from nothing."""
    for label, drawn in (("bars", ("smptebars", "pal75bars")), ("moving", ("testsrc2", "mandelbrot"))):
        for source in drawn:
            for part in (1, 2):
                frames = 5 + part
                make_video(tmp_path / "my videos" / label / f"{source}_{part}.avi", source=source, frames=frames)
    small = (
        "data.workers=0 data.num_frames=4 data.short_side=36 data.image_size=32 train.epochs=1 model.mde.taps=[layer1]"
    )
    small += " model.backbone.weights=null model.backbone.cut=layer1"
    notebook = run_chapter(
        tmp_path / "out.ipynb",
        ROOT / "book" / "07_your_own_videos.ipynb",
        videos=str(tmp_path / "my videos"),
        out=str(tmp_path / "own"),
        overrides=f"run={tmp_path / 'run'} {small}",
    )
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["num_classes"] == 2
    text = text_of(notebook)
    assert f"{'moving':15}  {'2 (1)':>12}  {'2 (1)':>12}" in text and "of 4 validation clips right" in text
    assert [file.suffix for file in (tmp_path / "run").glob("*.overlay.mp4")] == [".mp4"]
    assert "data:video/mp4;base64" in json.dumps(notebook)


def test_chapter_5_draws_a_run_and_says_why_others_are_skipped(
    untrained: Path, tiny_cfg: Config, tmp_path: Path
) -> None:
    """On a network of a few thousand parameters; the run on real clips is the same one, the memory run is absent."""
    run = Path(tiny_cfg.run)
    (run / "summary.json").write_text("{}")
    (run / "provenance.json").write_text(json.dumps({"git_commit": "0123456789abcdef", "git_changed": False}))
    notebook = run_chapter(
        tmp_path / "out.ipynb",
        ROOT / "book" / "05_attention_maps.ipynb",
        run=str(run),
        memory_run=str(tmp_path / "none"),
        own_run=str(run),
    )
    text, markdown = text_of(notebook), markdown_of(notebook)
    assert f"skipped: there is no run in {tmp_path / 'none'}" in text
    assert "temporal_attention: (28, 4, 3, 3)" in text and "states: (28, 3, 3, 8, 8, 8)" in text
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    images = [output for output in outputs if "image/jpeg" in output.get("data", {})]
    assert len(images) >= 10 + 3, "three clips of the run on real clips"
    players = [output for output in outputs if "hitagu-player" in output.get("data", {}).get("text/html", "")]
    assert len(players) == 1 and "data:image/webp" in players[0]["data"]["text/html"]
    rows = re.findall(
        r"^\| (motion gate|spatial gate|Grad-CAM|temporal attention) \|.*\| (better|open|worse) \|$",
        markdown,
        re.MULTILINE,
    )
    places = ["motion gate"] * 2 + ["spatial gate"] * 2 + ["Grad-CAM"] * 2
    assert [name for name, _ in rows] == [*places, "motion gate", *["temporal attention"] * 2]
