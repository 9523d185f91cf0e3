"""Several processes, started by torchrun on the CPU, take the same steps as one, compute the same scores, and end together."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchrun_worker
from torchrun_worker import LISTS, SHARES
from training_steps import batch_of, make_learner, with_train, without_statistics

from hitagu_lib.config import Config
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import make_loader
from hitagu_lib.evaluation.scores import score_clips
from hitagu_lib.runs.checkpoint import load_checkpoint
from hitagu_lib.training.distributed import FAILURE_FILE


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), *command],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        timeout=300,
    )


def test_three_processes_with_uneven_shares_equal_one(tiny_cfg: Config, tmp_path: Path) -> None:
    """A process may contribute less than the others, or nothing, to steps and scores; what stops one stops all, with the same message."""
    classes = str(Path(tiny_cfg.data.train_list).with_name("classes.txt"))
    data = dataclasses.replace(tiny_cfg.data, on_bad_clip="skip", classes=classes)
    cfg = dataclasses.replace(without_statistics(tiny_cfg), data=data)
    folder = tmp_path / "together"
    folder.mkdir()
    (folder / "params.yaml").write_text(cfg.to_yaml())
    val = Path(cfg.data.val_list).read_text().splitlines(keepends=True)
    gone = [val[0], "val/Moving something up/no such clip,6,24\n", val[2]]
    for name, rows in zip(LISTS, (val, val[:2], gone), strict=True):
        (folder / f"{name}.csv").write_text("".join(rows))
    done = torchrun(3, torchrun_worker.__file__, str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [torch.load(folder / f"{process}.pt") for process in range(3)]

    alone = make_learner(with_train(cfg, batch_size=24))
    for step, shares in enumerate(SHARES):
        expected = alone.step([batch_of(cfg, [row for share in shares for batch in share for row in batch])])
        for process in range(3):
            assert seen[process]["values"][step] == pytest.approx(expected, rel=1e-4, abs=1e-6), (step, process)
        if step == 0:
            for name in LISTS:
                clips = read_list(folder / f"{name}.csv", Path(cfg.data.root), cfg.data.classes_file)
                loader = make_loader(ClipDataset(clips, cfg.data, train=False), 5, shuffle=False)
                scores = score_clips(alone.model, loader, alone.accelerator)
                assert scores.rows.tolist() == ([0, 2] if name == "gone" else list(range(len(clips))))
                for each in seen:
                    for ours, theirs in zip(
                        each["scores"][name], (scores.rows, scores.labels, scores.logits), strict=True
                    ):
                        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    state = alone.state_dict()
    for part in ("model", "criterion"):
        for name, value in state[part].items():
            torch.testing.assert_close(seen[0][part][name], value, atol=1e-5, rtol=1e-4)
            assert all(torch.equal(each[part][name], seen[0][part][name]) for each in seen), f"{name} on every process"
    assert state["criterion"]["center.centers"].any()

    (first, second), *others = (each["stopped"] for each in seen)
    assert others == [[first, second]] * 2
    assert first[0].startswith("the loss is nan at step 3 ") and sorted(first[1]) == [36, 37, 38, 39]
    assert second == ("no clip of a whole step could be read; the first: list.csv:1: gone", None)


def test_a_process_leaves_the_others_before_python_ends(tmp_path: Path) -> None:
    """If it did not, one in three would abort: a thread of gloo frees the last call's tensors while the interpreter shuts down."""
    script = tmp_path / "last_call.py"
    script.write_text(
        "import atexit, os, pathlib, torch\n"
        "from hitagu_lib.config import TrainConfig\n"
        "from hitagu_lib.inference.accelerator import make_accelerator\n"
        "group = torch.distributed\n"
        f"left = pathlib.Path({str(tmp_path)!r}, 'left' + os.environ['RANK'])\n"
        "atexit.register(lambda: left.write_text(str(not group.is_initialized())))\n"  # the first to register is the last to run
        "for _ in range(2):\n"
        "    accelerator = make_accelerator(TrainConfig())\n"
        "    accelerator.gather(torch.ones(300000))\n"
    )
    done = torchrun(2, str(script))
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"left{rank}").read_text() for rank in range(2)] == ["True", "True"]


def test_a_signal_between_two_epochs_does_not_part_the_processes(tiny_cfg: Config, tmp_path: Path) -> None:
    """It reaches one of them before the other one's next step. Both stop at one step, and the first says which."""
    params, said = tmp_path / "params.yaml", tmp_path / "said.txt"
    params.write_text(with_train(tiny_cfg, batch_size=4, epochs=3).to_yaml())
    script = tmp_path / "signalled.py"
    script.write_text(
        "import os, signal, sys\n"
        "from hitagu_lib.cli.main import main\n"
        "from hitagu_lib.training.trainer import Trainer\n"
        "whole = Trainer._epoch\n"
        "def epoch(trainer):\n"
        "    if trainer.learner.epoch == 1 and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    whole(trainer)\n"
        "Trainer._epoch = epoch\n"
        f"os.environ[{FAILURE_FILE!r}] = {str(said)!r}\n"
        f"sys.exit(main(['train', '--params', {str(params)!r}]))\n"
    )
    torchrun(2, str(script))
    steps = load_checkpoint(Path(tiny_cfg.run) / "checkpoints" / "last.pt")["steps"]
    assert said.exists(), "a process that loses the other one has nothing to say"
    assert said.read_text().startswith(f"stopped by SIGTERM at step {steps}, in epoch 2 of 3; ")
