"""HiTAGU-Net: the small shared library of the book.

from hitagu_lib import load_config, build_model, fit, evaluate, predict

cfg = load_config("params/mini.yaml")
fit(cfg)                                                             # train; checkpoints go to outputs/mini/checkpoints
evaluate(cfg, "outputs/mini/checkpoints/last.pt")["top1"]            # score the validation list
predict("new.mp4", "outputs/mini/checkpoints/last.pt").labels[:5]    # rank the labels for a video
build_model(cfg.model, num_classes=14)                               # the network alone
"""

import os
from importlib import import_module

__version__ = "0.1.0"

if "OMP_WAIT_POLICY" not in os.environ:
    # Read when torch is imported. Else the idle threads of one training take the cores from another (benchmarks/threads.py).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_PUBLIC = {
    "Config": "hitagu_lib.config",
    "load_config": "hitagu_lib.config",
    "build_model": "hitagu_lib.models",
    "fit": "hitagu_lib.training.trainer",
    "evaluate": "hitagu_lib.evaluation.evaluate",
    "predict": "hitagu_lib.inference.predict",
}
__all__ = ["Config", "__version__", "build_model", "evaluate", "fit", "load_config", "predict"]


def __getattr__(name: str) -> object:
    # Imported on first use, so that `hitagu --help` does not wait for torch.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
