"""How large everything is: on a GPU, and at toy size on the CPU."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

BANDED = "model.stu.whole_frame=true model.stu.bands=true model.stu.broadcast=none"
"""The 3STU of the older published runs, as overrides."""
METHODS = {
    "HiTAGU-Net": "",
    "HiTAGU-Net, banded 3STU": BANDED,
    "without 3STU": "model.stu.enabled=false",
    "TSM": "model.temporal=tsm",
    "GRU": "model.temporal=gru",
    "TSN": "model.temporal=tsn",
}
"""What is trained -> its overrides of a recipe."""
ABLATIONS = ("base", "no_stu", "stu_as_it_was", "no_mde", "no_attention", "tsm")
"""Files in params/ablations, all of them changes of the base, params/mini.yaml."""


@dataclass(frozen=True)
class Size:
    device: str
    model: str  # overrides of params/ssv2.yaml, for what is timed
    checked: str  # overrides of params/ssv2.yaml, for what is compared with the CPU
    batch: int  # clips in a timed step
    batches: tuple[int, ...]  # clips in a step, against memory
    rounds: int
    warmup: int
    backend: str  # of torch.compile
    matrix: int  # side of the matrices whose product measures the card's peak
    unit: dict[str, int]  # of the 3STU: clips, side, channels, width
    frames: tuple[int, ...]  # T of the 3STU
    workers: tuple[int, ...]  # loader processes; 0 stands for all cores
    clips: int  # that the loader reads per round
    data: dict[str, int]  # of the drawn data sets, where they differ from the defaults
    drawers: int | None  # processes that draw them; None: one per core
    training: str  # overrides of every training
    seeds: tuple[int, ...]
    scratch: str  # the folder of data and runs

    def options(self, *, compiled: bool) -> Namespace:
        """Return the options of benchmarks.model and benchmarks.stu."""
        common = {"device": self.device, "rounds": self.rounds, "warmup": self.warmup, "slow": float("inf")}
        return Namespace(
            dtype="bf16", layout="channels-last", compile=compiled, backend=self.backend, **common, **self.unit
        )


FULL = Size(
    device="cuda",
    model="",
    checked="data.image_size=64 data.short_side=64",
    batch=32,
    batches=(1, 2, 4, 8, 16, 32, 64, 128),
    rounds=20,
    warmup=5,
    backend="inductor",
    matrix=8192,
    unit={"clips": 8, "side": 7, "channels": 2048, "width": 256},
    frames=(8, 16, 64),
    workers=(1, 4, 8, 0),
    clips=1024,
    data={},
    drawers=None,
    training="train.eval_every=100",
    seeds=(0, 1, 2, 3, 4),
    scratch="outputs/on_gpu",
)
_SMALL = (
    "model.backbone.name=resnet18 model.backbone.cut=layer1 model.mde.taps=[layer1] model.mde.reduced=4 model.mde.width=8 "
    "model.stu.width=8 model.attention.tsa_width=16 data.image_size=32 data.short_side=32 data.num_frames=3"
)
TOY = Size(
    device="cpu",
    model=_SMALL,
    checked=_SMALL,
    batch=2,
    batches=(1, 2),
    rounds=2,
    warmup=1,
    backend="eager",
    matrix=64,
    unit={"clips": 1, "side": 2, "channels": 8, "width": 4},
    frames=(3,),
    workers=(0,),
    clips=4,
    data={"train_per_class": 2, "val_per_class": 1},
    drawers=1,
    training=(
        "data.num_frames=2 data.image_size=32 data.short_side=36 data.workers=0 model.backbone.cut=layer1 model.mde.taps=[layer1] "
        "model.mde.reduced=4 model.mde.width=8 model.stu.width=8 train.epochs=1 train.batch_size=16"
    ),
    seeds=(0,),
    scratch="outputs/on_gpu_toy",
)
