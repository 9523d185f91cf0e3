"""A run of a few seconds, finished or stopped after its first epoch, made once and copied for each test."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitagu_lib.config import Config
from hitagu_lib.training import trainer as training

STATES = ("finished", "stopped")


class Interrupted(Exception):
    pass


def interrupt(metrics: list[dict[str, Any]]) -> None:
    raise Interrupted


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def small(tiny_cfg: Config, tiny_data: Path, made: Path) -> Config:
    """Two epochs of two steps; one of the clips cannot be read and is skipped. The lists are written anew: a test may change them."""
    rows = [row for row in (tiny_data / "val.csv").read_text().splitlines() if row][::3]
    (made / "train.csv").write_text("\n".join([*rows[:7], "val/no such clip,0,24"]) + "\n")
    (made / "val.csv").write_text("\n".join(rows[:4]) + "\n")
    shutil.copy(tiny_data / "classes.txt", made)
    data = dataclasses.replace(
        tiny_cfg.data, train_list=str(made / "train.csv"), val_list=str(made / "val.csv"), on_bad_clip="skip"
    )
    train = dataclasses.replace(tiny_cfg.train, batch_size=4, checkpoint_every=1)
    evaluation = dataclasses.replace(tiny_cfg.eval, order_tests=False)
    return dataclasses.replace(tiny_cfg, data=data, train=train, eval=evaluation)


@pytest.fixture
def run_of(small: Config, made: Path) -> Callable[[str], Config]:
    """Return, by state, the configuration of a run whose folder is a fresh copy."""

    def make(state: str) -> Config:
        original, folder = made / state, Path(small.run)
        if not original.exists():
            if state == "finished":
                training.fit(small)
            else:
                with pytest.raises(Interrupted):
                    training.fit(small, on_epoch=interrupt)
            shutil.move(folder, original)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        return small

    return make
