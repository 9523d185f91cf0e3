"""One tree of dataclasses for every setting of a run.

Pydantic checks the type, range and choices of each value. An error names the file and line (or `overrides`), the key, what was
found and what was expected; an unknown key is answered with the nearest known one. Relative paths start from the current folder,
which the notebooks set to the project's root.
"""

from __future__ import annotations

import functools
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError, to_jsonable_python

from hitagu_lib.config.explain import explanation
from hitagu_lib.config.layers import Layer, read_layer, resolved, validated
from hitagu_lib.config.plain_yaml import FLOAT, dump
from hitagu_lib.errors import ConfigError

Stage = Literal["layer1", "layer2", "layer3", "layer4"]
STAGES: tuple[Stage, ...] = typing.get_args(Stage)
Tap = Literal["stem", "layer1", "layer2", "layer3", "layer4"]
GRIDS: dict[str, int] = {"stem": 0, "layer1": 0, "layer2": 1, "layer3": 2, "layer4": 3}
"""How often each map's grid is halved after the stem."""
Temporal = Literal["hitagu", "tsn", "tsm", "gru"]


def _number(value: Any) -> Any:
    """Read text such as 1e-3 as a number: YAML 1.1, which papermill reads, has it as text."""
    return float(value) if isinstance(value, str) and FLOAT.match(value) else value


def _int_alone(value: Any) -> Any:
    """Refuse True and 1.0, which equal 1, as choices."""
    if type(value) is not int:
        raise ValueError
    return value


Float = Annotated[float, BeforeValidator(_number), Strict()]
IntChoice = BeforeValidator(_int_alone)

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def section(cls: type[_Class]) -> type[_Class]:
    """Make `cls` a frozen pydantic dataclass whose constructor, and so `dataclasses.replace`, raises ConfigError."""
    made: Any = pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)
    validate = made.__init__

    @functools.wraps(validate)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except ValidationError as error:
            raise ConfigError(explanation(error, made, lambda paths: cls.__name__)) from None

    made.__init__ = __init__
    return typing.cast("type[_Class]", made)


def conflict(problem: str, *keys: str) -> PydanticCustomError:
    """The error of values that do not go together: `problem` is that of the first key."""
    return PydanticCustomError("conflict", "{problem}", {"problem": problem, "keys": keys})


@section
class DataConfig:
    # The folder that the lists' paths start from.
    root: str = "data/frames"
    # Rows of path,label_index,num_frames.
    train_list: str = "data/train.csv"
    val_list: str = "data/val.csv"
    # What the paths name. frames: folders of JPEG files; video: video files, with or without extension, which PyAV reads.
    source: Literal["frames", "video"] = "frames"
    # A file with one label per line; null: classes.txt beside the training list.
    classes: str | None = None
    # The synthetic data set to make first if it is missing.
    prepare: Literal["mini", "hard", "memory"] | None = None
    num_frames: StrictInt = Field(default=8, ge=1, le=512)  # T, frames in a clip
    sampling: Literal["segment", "dense"] = "segment"
    dense_span: StrictInt = Field(default=64, ge=1, le=2**31 - 1)  # frames that a dense clip spans
    ref_stride: Float = Field(default=8.0, ge=0.01)  # frames in one unit of t
    short_side: StrictInt = Field(default=256, ge=8)  # evaluation: the frame's short side before the centre crop
    image_size: StrictInt = Field(default=224, ge=8)  # side of the crop that the network sees
    min_scale: Float = Field(default=0.66, ge=0.05, le=1.0)  # training: smallest crop side / short side
    hflip: StrictBool = False  # mirror half of the training clips
    vflip: StrictBool = False  # turn half of the training clips upside down; for data where that changes no label
    # Training: each clip's times are multiplied by a random factor from 1 to this, as if its frames lay further apart.
    time_stretch: Float = Field(default=1.0, ge=1.0, le=100.0)
    hflip_swaps: tuple[tuple[str, str], ...] = ()  # pairs of labels that a mirror swaps
    reverse_swaps: tuple[tuple[str, str], ...] = ()  # pairs of labels, each the other played backwards
    on_bad_clip: Literal["error", "skip"] = "error"
    workers: StrictInt = Field(default=4, ge=0, le=256)  # loader processes

    @property
    def classes_file(self) -> Path:
        """The file that holds the labels."""
        return Path(self.classes) if self.classes else Path(self.train_list).with_name("classes.txt")

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.image_size > self.short_side:
            problem = f"found {self.image_size}; expected at most data.short_side = {self.short_side}"
            raise conflict(problem, "image_size", "short_side")
        return self


@section
class BackboneConfig:
    name: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    cut: Stage = "layer4"  # the last stage that is kept
    # A name from torchvision's weights enum, such as IMAGENET1K_V2, or a .pt or .pth file; null: random weights.
    weights: str | None = None
    frozen_stages: StrictInt = Field(default=0, ge=0, le=5)  # 1: the stem; 2: also layer1; ...
    frozen_bn: StrictBool = False  # keep BatchNorm's running statistics as loaded


@section
class MDEConfig:
    enabled: StrictBool = True
    taps: tuple[Tap, ...] = ("layer2", "layer3", "layer4")  # the maps whose differences are taken
    reduced: StrictInt = Field(default=32, ge=1)  # channels of r, the map whose differences are taken
    # Side of K, the learned kernel; 1: no K, plain differences.
    difference_kernel: Annotated[Literal[1, 3], IntChoice] = 3
    # How many grid steps away the next frame is searched for each position; 0: no search.
    shift_radius: StrictInt = Field(default=2, ge=0, le=8)
    # What the trunk reads besides the shift match: r, d+, d-.
    reads: tuple[Literal["map", "forward", "backward"], ...] = ("map", "forward", "backward")
    # At least this many residual blocks, and one per halving of the grid; 0: a bare projection.
    trunk_blocks: StrictInt = Field(default=2, ge=0, le=8)
    width: StrictInt = Field(default=64, ge=1)  # channels of the trunk
    gate: StrictBool = True  # a * F
    embedding: StrictBool = True  # e

    @model_validator(mode="after")
    def _check(self) -> MDEConfig:
        off = "or model.mde.enabled: false"
        _check_unique(self.taps, "taps")
        _check_unique(self.reads, "reads")
        if self.enabled and not self.taps:
            raise conflict(f"found none; expected a stage, {off}", "taps")
        if self.enabled and not (self.reads or self.shift_radius):
            raise conflict(f"found none, and shift_radius 0; expected either, {off}", "reads", "shift_radius")
        if self.enabled and not (self.gate or self.embedding):
            raise conflict(f"found false, and embedding false; expected one of them, {off}", "gate", "embedding")
        return self


@section
class STUConfig:
    enabled: StrictBool = True
    states: StrictInt = Field(default=3, ge=1, le=3)  # the first of short, mid and long
    width: StrictInt = Field(default=256, ge=1)  # channels of each state
    # The states above the first are one for the whole frame, fed by the mean over positions, not one at each position.
    whole_frame: StrictBool = False
    # Confine the forget gates to disjoint bands; false: free gates, which start at half-lives of 1, 8.8 and 103 steps.
    bands: StrictBool = False
    # What each level above the first hears of the whole frame, one level down. null: max, or none with whole_frame: true.
    broadcast: Literal["none", "mean", "max"] | None = None
    elapsed_time: StrictBool = True  # raise the forget gates to the elapsed time
    # Let the forget gates also see their own state one step ago, as a GRU's do: sequential, by the loop alone.
    gates_see_state: StrictBool = False
    # A plain nn.GRU of the same width at each position, in the unit's place; its other keys but width are then ignored.
    gru: StrictBool = False
    # How to compute the recurrence; each gives the same result. auto: the form measured to be fastest (benchmarks/stu.py).
    form: Literal["auto", "loop", "closed", "scan"] = "auto"

    @model_validator(mode="after")
    def _check(self) -> STUConfig:
        if self.gates_see_state and self.form not in ("auto", "loop"):
            problem = f"found {self.form}; expected auto or loop, the only forms for model.stu.gates_see_state: true"
            raise conflict(problem, "form", "gates_see_state")
        if self.broadcast is None:
            object.__setattr__(self, "broadcast", "none" if self.whole_frame else "max")  # frozen, but not built yet
        if self.whole_frame and self.broadcast != "none":
            problem = f"found {self.broadcast}; expected none, or model.stu.whole_frame: false"
            raise conflict(problem, "broadcast", "whole_frame")
        return self


@section
class AttentionConfig:
    sca: StrictBool = True  # Spatial Channel Attention
    tsa: StrictBool = True  # Temporal Self-Attention
    sca_gates: tuple[Literal["channel", "spatial"], ...] = ("channel", "spatial")
    # The channel gate's bottleneck has C / sca_reduction channels, 4 or more.
    sca_reduction: StrictInt = Field(default=32, ge=1)
    sca_kernel: Annotated[Literal[3, 5, 7], IntChoice] = 7  # the spatial gate's convolution
    sca_identity: StrictBool = False  # gates of 2 sigmoid, from 0 to 2, not of sigmoid, from 0 to 1
    sca_zero_start: StrictBool = False  # the last layer of a gate starts at 0: a fresh gate is half open everywhere
    tsa_width: StrictInt = Field(default=128, ge=2)  # channels of queries, keys and values, over all heads
    tsa_heads: StrictInt = Field(default=4, ge=1)
    tsa_position: StrictBool = True  # tell TSA the frames' times
    tsa_relative: StrictBool = False  # by differences of times, not by a code of each time since the clip's start
    # How many frames a frame sees with model.causal: itself and those before it. A stream keeps as many keys and values.
    tsa_window: StrictInt = Field(default=32, ge=1, le=4096)

    @model_validator(mode="after")
    def _check(self) -> AttentionConfig:
        _check_unique(self.sca_gates, "sca_gates")
        if self.sca and not self.sca_gates:
            raise conflict("found none; expected a gate, or sca: false", "sca_gates")
        if self.tsa_width % (2 * self.tsa_heads):
            problem = f"found {self.tsa_width}; expected a multiple of 2 x tsa_heads = {2 * self.tsa_heads}"
            raise conflict(problem, "tsa_width", "tsa_heads")
        return self


def _check_unique(names: Sequence[str], key: str) -> None:
    if len(set(names)) < len(names):
        raise conflict(f"found {list(names)}; expected each name once", key)


@section
class ModelConfig:
    temporal: Temporal = "hitagu"
    backbone: BackboneConfig = BackboneConfig()
    mde: MDEConfig = MDEConfig()
    stu: STUConfig = STUConfig()
    attention: AttentionConfig = AttentionConfig()
    # What the classifier reads of the frame embeddings: their mean, the last one, or both side by side. memory: their mean,
    # and beside it the last frame as the 3STU leaves it, which attention has not touched.
    readout: Literal["mean", "last", "both", "memory"] = "mean"
    # No output depends on a later frame, so that the network can follow a video: MDE looks back alone, TSA sees the last tsa_window
    # frames by differences of times, TSM shifts from the past alone.
    causal: StrictBool = False
    dropout: Float = Field(default=0.5, ge=0.0, le=0.99)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        for stage in self.mde.taps if self.temporal == "hitagu" and self.mde.enabled else ():
            if GRIDS[stage] > GRIDS[self.backbone.cut]:
                problem = f"found {stage}, beyond model.backbone.cut = {self.backbone.cut}"
                raise conflict(problem, "mde.taps", "backbone.cut")
        ahead_alone = set(self.mde.reads) <= {"forward"} and not self.mde.shift_radius
        if self.causal and self.temporal == "hitagu" and self.mde.enabled and ahead_alone:
            problem = "found forward alone, which looks ahead; expected map or backward too, for model.causal: true"
            raise conflict(problem, "mde.reads", "causal")
        return self


@section
class TrainConfig:
    # A checkpoint of this library to start from, in place of model.backbone.weights.
    init: str | None = None
    # Its classifier (and centres): keep them where the classes are the same, or replace them by new ones.
    init_head: Literal["keep", "replace"] = "keep"
    epochs: StrictInt = Field(default=50, ge=1)
    batch_size: StrictInt = Field(default=8, ge=1)  # clips in the network at a time, per process
    accumulate: StrictInt = Field(default=1, ge=1)  # batches per process that are added up to one step
    # How many to start on this machine, one per GPU (torchrun's own number wins). A step has batch_size x accumulate x
    # processes clips.
    processes: StrictInt = Field(default=1, ge=1, le=1024)
    lr: Float = Field(default=0.01, ge=0.0)  # peak learning rate
    # Clips per step that lr is meant for; lr is scaled in proportion to the actual number. null: lr as it is.
    lr_batch: StrictInt | None = Field(default=None, ge=1)
    backbone_lr_mult: Float = Field(default=1.0, ge=0.0)  # the backbone's learning rate, as a multiple of lr
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Float = Field(default=0.9, ge=0.0, le=0.999)  # SGD's
    weight_decay: Float = Field(default=5e-4, ge=0.0)
    warmup_epochs: Float = Field(default=5.0, ge=0.0)
    label_smoothing: Float = Field(default=0.1, ge=0.0, le=0.99)
    # balanced: weigh each sample by samples / (classes x samples of its class), so that rare classes count as much as common ones. A clip
    # under the label of its mirror image, or repeated backwards under its partner's, is a sample of that class.
    class_weights: Literal["balanced"] | None = None
    # Also play clips of data.reverse_swaps backwards, under the partner's label.
    both_directions: StrictBool = False
    clip_norm: Float = Field(default=20.0, ge=0.0)  # 0: no gradient clipping
    center_loss: StrictBool = False
    center_normalised: StrictBool = False  # of embeddings of length 1: bounded, whatever their scale
    lambda_center: Float = Field(default=0.1, ge=0.0)
    center_lr: Float = Field(default=0.5, ge=0.0)  # the centres' own rate
    temporal_loss: StrictBool = False
    lambda_temporal: Float = Field(default=0.05, ge=0.0)
    # Weight of the mean cross-entropy over all prefixes of a clip, for model.causal: true; 0: off.
    prefix_loss: Float = Field(default=0.0, ge=0.0)
    # Decay per step of an average of the weights, which is then what is validated and kept; 0: no average.
    ema: Float = Field(default=0.0, ge=0.0, le=0.99999)
    # Take BatchNorm's statistics over the clips of all processes; GPUs only. Where a process has no readable clip left, a grey one that
    # weighs nothing in the loss counts in these statistics.
    sync_bn: StrictBool = False
    # auto: bf16 on a CUDA GPU that supports it, else fp32.
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: StrictInt = Field(default=0, ge=0, le=2**32 - 1)  # NumPy takes no larger one
    eval_every: StrictInt = Field(default=1, ge=1)  # epochs between validations; the last epoch is always validated
    # Steps between checkpoints within an epoch; null: a checkpoint after each epoch alone.
    checkpoint_every: StrictInt | None = Field(default=None, ge=1)

    @property
    def world_size(self) -> int:
        """Number of processes of this training: torchrun's, or as many as it would start."""
        return int(os.environ["WORLD_SIZE"]) if "WORLD_SIZE" in os.environ else self.processes

    def global_batch_size(self, world_size: int | None = None) -> int:
        """Clips per step, over all processes."""
        return self.batch_size * self.accumulate * (self.world_size if world_size is None else world_size)

    def peak_lr(self, world_size: int | None = None) -> float:
        """Peak learning rate: `lr`, scaled by global batch size / `lr_batch` where that is given."""
        return self.lr if self.lr_batch is None else self.lr * self.global_batch_size(world_size) / self.lr_batch


@section
class EvalConfig:
    batch_size: StrictInt = Field(default=16, ge=1)
    # Also evaluate with the frames shuffled and reversed; `hitagu evaluate` adds the middle frame alone.
    order_tests: StrictBool = False
    tsn_baseline: StrictBool = False  # also train TSN by the same recipe
    # Which views of a video `hitagu evaluate` scores: hitagu_lib/evaluation/protocols.py.
    protocol: Literal["single", "multi", "tsm_twice"] = "single"
    clips: StrictInt | None = Field(default=None, ge=1)  # per video; null: the protocol's own number
    crops: StrictInt | None = Field(default=None, ge=1)  # per frame; null: the protocol's own number
    # null: data.image_size for one crop, data.short_side for several.
    crop_size: StrictInt | None = Field(default=None, ge=8)
    average: Literal["probabilities", "logits"] = "probabilities"  # what to average over a video's views
    frames_at_once: StrictInt = Field(default=64, ge=1)  # in the network at a time: bounds memory, changes no score


@section
class Config:
    run: str = "outputs/run"  # the run's folder
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.train.prefix_loss and not self.model.causal:
            problem = f"found {self.train.prefix_loss:g}; expected 0, or model.causal: true"
            raise conflict(problem, "train.prefix_loss", "model.causal")
        return self

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], source: str = "params") -> Config:
        """Build and check a Config; missing keys keep their defaults.

        Raises ConfigError with one line per problem: `source`, the key, what was found and what was expected.
        """
        return validated(cls, [Layer(source, mapping)])

    def to_mapping(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars, as YAML holds them."""
        return dict(to_jsonable_python(self))

    def to_yaml(self) -> str:
        return dump(self.to_mapping())


def load_config(file: str | Path, overrides: str = "") -> Config:
    """Return the Config of a params file, with `overrides` such as "train.epochs=2 train.lr=0.01" on top.

    A value with spaces goes in quotes or brackets: run="outputs/my run", model.mde.taps=[layer1, layer2].
    Raises ConfigError with one line per problem: the file and line, or `overrides`, and the key.
    """
    return resolved(Config, read_layer(file), overrides)


def resolve(mapping: Mapping[str, Any], overrides: str = "", source: str = "params") -> Config:
    """Defaults < the file that `base:` names, over that file's own base and so on < `mapping` < `overrides`.

    `mapping` holds the keys of a params file: `base`, `run`, `data`, `model`, `train`, `eval`; errors call it `source`.
    """
    return resolved(Config, Layer(source, mapping), overrides)


def read_params(file: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Values are those of YAML 1.2: 1e-3 is a number, true and false are the only booleans; 010, 1_000, 1:30, on, no and 2024-01-01 are
    text. Raises ConfigError for a file that is missing or no mapping, for tags and for a key given twice, with the line.
    """
    return dict(read_layer(file).mapping)
