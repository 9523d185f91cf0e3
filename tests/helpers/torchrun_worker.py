"""Take steps and compute scores with uneven shares, then fail; tests/system/test_ranks.py starts it in three processes by torchrun.

Each process writes what it saw to <folder>/<process>.pt. If one of them does not return from a collective call, the test times out.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch
from training_steps import batch_of, make_learner, with_train

from hitagu_lib.config import load_config
from hitagu_lib.data.clip_list import read_list
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.loader import make_loader
from hitagu_lib.errors import HitaguError
from hitagu_lib.evaluation.scores import score_clips
from hitagu_lib.training import learner as learning

SHARES: list[list[list[list[int]]]] = [  # step -> process -> batch -> rows
    [[[0, 1, 2, 3], [12, 13, 14, 15]], [[4, 5, 6, 7], [16, 17, 18, 19]], [[8, 9, 10, 11], [20, 21, 22, 23]]],
    [[[24, 25, 26], []], [], [[27, 28, 29, 30], [31]]],
    [[[], []], [[32], []], [[33, 34, 35, 36]]],
]
LISTS = ("val", "two", "gone")


def main(folder: Path) -> None:
    cfg = with_train(load_config(folder / "params.yaml"), batch_size=4, accumulate=2)
    learner = make_learner(cfg)
    accelerator, me = learner.accelerator, learner.accelerator.process_index
    seen: dict[str, Any] = {"values": [], "scores": {}, "stopped": []}

    for step, shares in enumerate(SHARES):
        batches = [batch_of(cfg, rows, ["gone"] * (len(rows) < 4)) for rows in shares[me]]
        seen["values"].append(learner.step(batches))
        if step == 0:  # between steps: if scoring left the processes out of step, the next step would show it
            for buffer in learner.evaluated.buffers():
                if buffer.is_floating_point():
                    buffer += 0.1 * me
            for name in LISTS:
                clips = read_list(folder / f"{name}.csv", Path(cfg.data.root), cfg.data.classes_file)
                process = {"process": me, "processes": accelerator.num_processes}
                loader = make_loader(ClipDataset(clips, cfg.data, train=False), 5, shuffle=False, **process)
                scores = score_clips(learner.model, loader, accelerator)
                seen["scores"][name] = (scores.rows, scores.labels, scores.logits)
    state = learner.state_dict()
    seen |= {"model": state["model"], "criterion": state["criterion"]}

    rows = [36, 37, 38, 39] if me == 1 else [me]
    whole = learning.normalise
    learning.normalise = lambda frames: torch.full(frames.shape, math.nan) if len(frames) == 4 else whole(frames)
    for batches in ([batch_of(cfg, rows)], [batch_of(cfg, [], [f"list.csv:{me}: gone"])] * me):
        try:
            learner.step(batches)
        except HitaguError as error:
            seen["stopped"].append((str(error), getattr(error, "rows", None)))
    torch.save(seen, folder / f"{me}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
