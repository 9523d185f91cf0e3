"""A run whose lists have changed says so, finished or stopped; where its numbers come from is never overwritten."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitagu_lib.config import Config
from hitagu_lib.errors import ConfigError
from hitagu_lib.runs.provenance import data_lists
from hitagu_lib.training import trainer as training

RunOf = Callable[[str], Config]


def cut_in_half(file: Path) -> None:
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join(rows[: len(rows) // 2]))


def swap_two(file: Path) -> None:
    first, second, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join([second, first, *others]))


@pytest.mark.slow
@pytest.mark.parametrize("record", ["provenance", "checkpoint"])
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_changed_lists_are_named_with_their_rows_then_and_now(state: str, record: str, run_of: RunOf) -> None:
    for name, change, found in (
        ("train_list", cut_in_half, "8 rows then, 4 now"),
        ("val_list", cut_in_half, "4 rows then, 2 now"),
        ("train_list", swap_two, "8 rows, not the same ones"),
        ("classes", swap_two, "14 rows, not the same ones"),
    ):
        cfg = run_of(state)
        provenance = Path(cfg.run) / "provenance.json"
        if record == "checkpoint":  # the only record that is left
            provenance.unlink()
        file = cfg.data.classes_file if name == "classes" else Path(getattr(cfg.data, name))
        whole = file.read_text()
        change(file)
        source = provenance if record == "provenance" else Path(cfg.run) / "checkpoints" / "last.pt"
        words = f"{file}: data.{name} has changed since this run was trained on it: {found} ({source}). Restore it, "
        with pytest.raises(ConfigError, match=re.escape(words)):
            training.fit(cfg)
        with pytest.raises(ConfigError, match="to start over"):
            training.train(cfg)
        file.write_text(whole)
        training.fit(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_line_endings_empty_lines_and_a_byte_order_mark_do_not_count(state: str, run_of: RunOf) -> None:
    cfg = run_of(state)
    before = data_lists(cfg.data)
    for file in (Path(cfg.data.train_list), Path(cfg.data.val_list)):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert data_lists(cfg.data) == before
    training.fit(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_the_clips_of_a_step_may_be_split_otherwise_but_keep_their_number(state: str, run_of: RunOf) -> None:
    cfg = run_of(state)
    train = cfg.train
    split = dataclasses.replace(train, batch_size=train.batch_size // 2, accumulate=2 * train.accumulate)
    with pytest.raises(ConfigError):
        training.fit(dataclasses.replace(cfg, train=dataclasses.replace(split, accumulate=train.accumulate)))
    training.fit(dataclasses.replace(cfg, train=split))


@pytest.mark.slow
def test_a_finished_run_is_read_without_its_lists(run_of: RunOf) -> None:
    cfg = run_of("finished")
    Path(cfg.data.train_list).unlink()
    assert training.fit(cfg)["train_clips"] == 8


@pytest.mark.slow
def test_the_first_provenance_is_kept_and_resumptions_are_added(
    run_of: RunOf, small: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = run_of("stopped")
    file = Path(cfg.run) / "provenance.json"
    first: dict[str, Any] = json.loads(file.read_text())
    assert "resumed" not in first and first["lists"] == data_lists(cfg.data)
    assert first["lists"]["train_list"]["rows"] == 8
    monkeypatch.setenv("HITAGU_STARTED_BY", '["hitagu", "again"]')

    class Again(Exception):
        pass

    def again(metrics: list[dict[str, Any]]) -> None:
        raise Again

    with pytest.raises(Again):
        training.fit(cfg, on_epoch=again)
    training.fit(cfg)
    now = json.loads(file.read_text())
    resumed = now.pop("resumed")
    assert now == first, "commit, command, time and device of the first start"
    assert [(each["at_step"], each["command"]) for each in resumed] == [
        (2, ["hitagu", "again"]),
        (4, ["hitagu", "again"]),
    ]
    assert {"git_commit", "device", "started", "packages", "processes", "global_batch_size"} <= resumed[0].keys()
