"""What a training cell shows while it runs: a growing curve in a live session, one line per epoch elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display

from hitagu_lib.viz.figures import training_curves


def watched() -> bool:
    """Return True in JupyterLab and VS Code, False under papermill, nbval and plain Python.

    A Jupyter server names the session of each kernel that it starts; papermill and nbval start kernels without a server.
    """
    return "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ


class LiveCurves:
    """The `on_epoch` of `hitagu_lib.fit` for notebooks; a resumed run also shows its earlier epochs."""

    def __init__(self, total_epochs: int) -> None:
        self.total_epochs = total_epochs
        self.handle: Any = None
        self.printed = 0

    def __call__(self, metrics: Sequence[dict[str, Any]]) -> None:
        if not watched():
            for line in metrics[self.printed :]:
                print(epoch_line(line, self.total_epochs), flush=True)
            self.printed = len(metrics)
            return
        if not metrics:  # a finished run whose metrics.jsonl is gone
            return
        figure = training_curves(metrics, self.total_epochs)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        plt.close(figure)


def epoch_line(metrics: dict[str, Any], total_epochs: int) -> str:
    """Format one epoch as a line of text."""
    epoch = f"epoch {metrics['epoch'] + 1}/{total_epochs}: loss {metrics['train_loss']:.3f}, top-1 {metrics['train_top1']:.1%}"
    validation = f", validation {metrics['val_top1']:.1%}" if "val_top1" in metrics else ""
    return f"{epoch}{validation}, {metrics['clips_per_second']:.0f} clips/s, {metrics['seconds']:.0f} s"
