"""Checkpoints are data, not programs; metrics are read up to the last whole line; a chapter finds the project's root."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from hitagu_lib.config import Config, resolve
from hitagu_lib.errors import ConfigError, WeightsError
from hitagu_lib.files import project_root
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.run_dir import Run, changed_params, read_metrics


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch HACKED",)


def test_a_checkpoint_that_carries_a_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"params": {}, "classes": [], "model": Evil()}, "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for file in ("evil.pt", "plain.pt"):
        with pytest.raises(WeightsError, match=f"{file}: cannot be read as a checkpoint"):
            load_checkpoint(file)
    assert not Path("HACKED").exists()


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="found no params, classes and model"):
        load_checkpoint(tmp_path / "other.pt")
    whole = (tmp_path / "other.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "half.pt")


def test_a_run_older_than_a_key_is_the_same_run() -> None:
    now = Config()
    before = now.to_mapping()
    del before["train"]["init_head"]
    assert changed_params(before, now) == []
    replaced = resolve({}, "train.init_head=replace")
    assert changed_params(before, replaced) == ["train.init_head: keep, asked for replace"]
    assert changed_params(before, replaced, free={"train.init_head"}) == []


def test_a_key_that_is_gone_is_named() -> None:
    before = Config().to_mapping()
    before["train"]["gone"] = 3
    assert changed_params(before, Config()) == ["train.gone: 3, asked for no such key"]


def test_a_half_written_last_line_of_metrics_is_ignored(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert read_metrics(tmp_path) == [{"epoch": 0}, {"epoch": 1}]


def test_the_root_is_found_from_inside_the_project_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("params", "hitagu_lib", "book/deep"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "book" / "deep")
    assert project_root() == tmp_path / "project"
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path


def test_a_parameter_file_of_somebody_s_own_is_not_replaced(tmp_path: Path) -> None:
    own = "# my notes\nbase: params/mini.yaml\n"
    (tmp_path / "params.yaml").write_text(own)
    run = Run(resolve({"run": str(tmp_path), "data": {"hflip_swaps": [["sign # 1", "sign # 2"]]}}))
    with (
        pytest.raises(
            ConfigError, match=r"params\.yaml: found a file with a base, with comments or without parameters"
        ),
        run.opened(),
    ):
        pass
    assert (tmp_path / "params.yaml").read_text() == own
    (tmp_path / "params.yaml").unlink()
    for _ in range(2):  # a run's own file is no obstacle
        with run.opened():
            pass


@pytest.mark.parametrize("own", ["3\n", "3.5\n", "true\n", "hello\n", "- 1\n- base\n"])
def test_a_file_without_parameters_is_not_replaced(tmp_path: Path, own: str) -> None:
    (tmp_path / "params.yaml").write_text(own)
    with (
        pytest.raises(ConfigError, match=rf"{tmp_path}/params\.yaml: found a file .*without parameters; expected none"),
        Run(resolve({"run": str(tmp_path)})).opened(),
    ):
        pass
    assert (tmp_path / "params.yaml").read_text() == own
