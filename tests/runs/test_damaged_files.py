"""No file of a run is trusted to be whole: whatever a power cut has left, a run resumes, is read, or says which file stops it."""

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from hitagu_lib.config import Config, load_config
from hitagu_lib.errors import ConfigError, HitaguError, WeightsError
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.runs.run_dir import Run, read_metrics
from hitagu_lib.training import trainer as training

RunOf = Callable[[str], Config]
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "1 byte": lambda content: content[:1],
    "100 bytes": lambda content: content[:100],
    "zeros": lambda content: bytes(len(content)),
    "random": lambda content: random.Random(0).randbytes(len(content)),
}
FILES = (
    "params.yaml", "provenance.json", "metrics.jsonl", "summary.json", "val_classes.csv", "bad_clips.txt", "checkpoints/last.pt",
    "checkpoints/previous.pt", "checkpoints/best.pt",
)  # fmt: skip
READ = {  # state -> the files that it needs, so that damage to them must be named
    "finished": {"params.yaml", "provenance.json", "summary.json"},
    "stopped": {"params.yaml", "provenance.json", "checkpoints/last.pt", "checkpoints/best.pt"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_damaged_file_is_named_and_the_run_goes_on(
    state: str, name: str, run_of: RunOf, caplog: pytest.LogCaptureFixture
) -> None:
    for what, damaged in DAMAGES.items():
        cfg = run_of(state)
        folder = Path(cfg.run)
        file = folder / name
        if not file.exists():
            assert (state, name) in {("stopped", "summary.json"), ("stopped", "val_classes.csv")}
            continue
        whole = file.read_bytes()
        file.write_bytes(damaged(whole))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hitagu_lib"):
            summary = training.fit(cfg)
        warned = [record.getMessage() for record in caplog.records if str(file) in record.getMessage()]
        if name in READ[state]:
            assert warned, f"{what}: nothing says that {name} is damaged"
        assert summary == json.loads((folder / "summary.json").read_text()) == Run(cfg).summary(), what
        assert Config.from_mapping(yaml.safe_load((folder / "params.yaml").read_text())).train == cfg.train
        if name in READ[state] or state == "stopped":
            assert [line["epoch"] for line in read_metrics(folder)][-1:] == [1], what
            assert load_checkpoint(folder / "checkpoints" / "last.pt")["epoch"] == 2
        if state == "stopped" or name == "summary.json":
            (line,) = (folder / "bad_clips.txt").read_text().splitlines()
            assert line.startswith(f"{cfg.data.train_list}:8: ") and summary["bad_clips"] == 1, what


@pytest.mark.slow
def test_all_checkpoints_damaged_is_an_error_that_names_them(run_of: RunOf) -> None:
    for damaged, found in (
        (b"", "it is empty"),
        (bytes(5000), "it holds 5000 NUL bytes and nothing else"),
        (b"PK\3\4rest", "it is a zip archive cut short, 8 bytes without its end"),
    ):
        cfg = run_of("stopped")
        for name in ("last", "previous", "best"):
            (Path(cfg.run) / "checkpoints" / f"{name}.pt").write_bytes(damaged)
        with pytest.raises(WeightsError) as caught:
            training.fit(cfg)
        text = str(caught.value)
        assert (
            text.count(f"cannot be read as a checkpoint: {found}") == 2 and "last.pt" in text and "previous.pt" in text
        )
        assert "best.pt" not in text, "it is damaged as well, so it is not recommended"
        assert f"remove {cfg.run} to start over" in text


@pytest.mark.slow
def test_a_checkpoint_without_training_state_is_not_resumed(untrained: Path, tiny_cfg: Config) -> None:
    with pytest.raises(
        WeightsError, match=r"last\.pt: holds a network, but no training to resume \(no criterion, epoch, "
    ):
        training.fit(tiny_cfg)


@pytest.mark.slow
def test_results_without_parameters_and_a_finished_run_without_checkpoints_are_not_trained_over(run_of: RunOf) -> None:
    """A finished run's checkpoints may have been removed to save room; then its numbers must not be lost in silence."""
    for name, error, words in (
        ("params.yaml", ConfigError, r"params\.yaml: damaged: .*no checkpoint has the run's parameters either"),
        ("summary.json", WeightsError, r"summary\.json: damaged\. No checkpoint is left to resume from: remove "),
    ):
        cfg = run_of("finished")
        metrics = read_metrics(cfg.run)
        for file in (Path(cfg.run) / "checkpoints").iterdir():
            file.unlink()
        (Path(cfg.run) / name).write_bytes(b"")
        with pytest.raises(error, match=words):
            training.fit(cfg)
        assert read_metrics(cfg.run) == metrics
        assert issubclass(error, HitaguError)


@pytest.mark.slow
def test_damaged_params_are_replaced_by_the_checkpoints_and_still_compared(run_of: RunOf) -> None:
    import dataclasses

    cfg = run_of("stopped")
    params = Path(cfg.run) / "params.yaml"
    for damaged in (bytes(300), params.read_bytes()[:-10]):
        params.write_bytes(damaged)
        other = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, lr=0.5))
        with pytest.raises(ConfigError, match=r"(?s)started with other parameters:\ntrain\.lr: .*, asked for 0\.5\n"):
            training.fit(other)
        assert Config.from_mapping(yaml.safe_load(params.read_text())).train == cfg.train


@pytest.mark.slow
def test_damaged_lines_of_metrics_are_named_and_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"epoch": 0}\n\0\0\0\n{"epo\n[1]\n{"loss": 1}\n\xff\xfe\n{"epoch": 1}\n{"epoch": 2, "lo')
    assert read_metrics(tmp_path) == [{"epoch": 0}, {"epoch": 1}]
    assert f"{file}:2,3,4,5,6: damaged, ignored" in caplog.text


@pytest.mark.slow
def test_metrics_that_are_lost_are_said_to_be(run_of: RunOf, caplog: pytest.LogCaptureFixture) -> None:
    cfg = run_of("stopped")
    (Path(cfg.run) / "metrics.jsonl").unlink()
    training.fit(cfg)
    assert "metrics.jsonl: the metrics of 1 of 1 epochs are lost: [0]" in caplog.text


@pytest.mark.slow
def test_parameters_from_a_checkpoint_are_written_as_a_run_writes_them(run_of: RunOf) -> None:
    """Labels such as 1e3, which YAML takes for a number, too."""
    cfg = run_of("stopped")
    file, checkpoint = Path(cfg.run) / "params.yaml", Path(cfg.run) / "checkpoints" / "last.pt"
    state = load_checkpoint(checkpoint)
    state["params"]["data"]["reverse_swaps"] = [["1e3", "2e3"]]
    torch.save(state, checkpoint)
    file.write_text("")
    with pytest.raises(ConfigError, match="started with other parameters"):
        training.fit(cfg)
    assert yaml.safe_load(file.read_text())["data"]["reverse_swaps"] == [["1e3", "2e3"]]
    assert load_config(file).data.reverse_swaps == (("1e3", "2e3"),)


@pytest.mark.slow
def test_each_bad_clip_is_noted_whatever_the_lists_folder_is_called(tiny_cfg: Config) -> None:
    run = Run(tiny_cfg)
    Path(tiny_cfg.run).mkdir(parents=True)
    messages = [f"data: mine/train.csv:{line}: gone: no such folder" for line in (3, 4, 5)]
    run.note_bad_clips(messages[:2])
    run.note_bad_clips(messages[1:])
    assert run.bad_clips() == messages


@pytest.mark.slow
def test_a_bad_clip_whose_name_is_not_utf8_is_noted_once(tiny_cfg: Config) -> None:
    run, message = Run(tiny_cfg), "train.csv:3: caf\udce9: no such folder"
    Path(tiny_cfg.run).mkdir(parents=True)
    for _ in range(2):
        run.note_bad_clips([message, "train.csv:4: gone: no such folder"])
    assert run.bad_clips() == [message, "train.csv:4: gone: no such folder"]
    assert b"caf\xe9" in (Path(tiny_cfg.run) / "bad_clips.txt").read_bytes()
