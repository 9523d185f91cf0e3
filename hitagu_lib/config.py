"""One tree of dataclasses for everything a run can be told, and the only code that reads `params/`.

    params/*.yaml  --read_params-->  mapping  --Config.from_mapping-->  Config  --Config.to_yaml-->  outputs/<run>/params.yaml

Every key is known, typed and ranged; an unknown key is answered with the nearest known name. Relative paths
are looked up from the current folder, which the notebooks set to the project's root.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hitagu_lib.errors import ConfigError

STAGES = ("layer1", "layer2", "layer3", "layer4")
GRIDS = {
    "stem": 0,
    "layer1": 0,
    "layer2": 1,
    "layer3": 2,
    "layer4": 3,
}  # map -> how often its grid is halved after the stem
READS = ("map", "forward", "backward")  # what MDE's trunk reads of a tap
GATES = ("channel", "spatial")  # SCA's
SECTIONS = ("data", "model", "train", "eval")


def _option(default: Any, *, low: float | None = None, high: float | None = None, choices: Sequence[Any] = ()) -> Any:
    """A field with its allowed range (both ends included) or its allowed values."""
    metadata = {"low": low, "high": high, "choices": tuple(choices)}
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataConfig:
    root: str = "data/frames"  # the folder that the lists' paths are relative to
    train_list: str = "data/train.csv"  # rows of path,label_index,num_frames
    val_list: str = "data/val.csv"
    # frames: the paths are folders of JPEG; video: video files, with or without their ending, read through PyAV
    source: str = _option("frames", choices=("frames", "video"))
    classes: str | None = None  # one label a line; null: classes.txt beside the training list
    prepare: str | None = _option(None, choices=("mini", "hard"))  # make this data set first where it is not there yet
    num_frames: int = _option(8, low=1, high=512)  # T, frames a clip
    sampling: str = _option("segment", choices=("segment", "dense"))
    dense_span: int = _option(64, low=1)  # frames that a dense clip spans
    ref_stride: float = _option(8.0, low=0.01)  # frames in one unit of t
    short_side: int = _option(256, low=8)  # evaluation: the frame's short side before the centre crop
    image_size: int = _option(224, low=8)  # side of the crop that the network sees
    min_scale: float = _option(0.66, low=0.05, high=1.0)  # training: smallest crop side, over the short side
    hflip: bool = False  # mirror half of the training clips
    hflip_swaps: tuple[tuple[str, str], ...] = ()  # pairs of labels that a mirror swaps
    reverse_swaps: tuple[tuple[str, str], ...] = ()  # pairs of labels that are each other played backwards
    on_bad_clip: str = _option("error", choices=("error", "skip"))
    workers: int = _option(4, low=0, high=256)  # loader processes

    @property
    def classes_file(self) -> Path:
        """Where the labels stand."""
        return Path(self.classes) if self.classes else Path(self.train_list).with_name("classes.txt")


@dataclass(frozen=True)
class BackboneConfig:
    name: str = _option("resnet50", choices=("resnet18", "resnet34", "resnet50", "resnet101"))
    cut: str = _option("layer4", choices=STAGES)  # the last stage that is kept
    weights: str | None = None  # a name of torchvision's weights enum, such as IMAGENET1K_V2, or a .pt or .pth file
    frozen_stages: int = _option(0, low=0, high=5)  # 1: the stem; 2: and layer1; ...
    frozen_bn: bool = False  # keep BatchNorm's running statistics as loaded


@dataclass(frozen=True)
class MDEConfig:
    enabled: bool = True
    taps: tuple[str, ...] = _option(("layer2", "layer3", "layer4"), choices=tuple(GRIDS))  # whose maps are differenced
    reduced: int = _option(32, low=1)  # channels of r, the map that is differenced
    difference_kernel: int = _option(3, choices=(1, 3))  # side of K, learned; 1: no K, plain differences
    # grid steps that a position is looked for in the next frame; 0: not at all
    shift_radius: int = _option(2, low=0, high=8)
    reads: tuple[str, ...] = _option(READS, choices=READS)  # what the trunk reads beside the shift match: r, d+, d-
    trunk_blocks: int = _option(2, low=0, high=8)  # at least; a block a halving of the grid. 0: a bare projection
    width: int = _option(64, low=1)  # channels of the trunk
    gate: bool = True  # a * F
    embedding: bool = True  # e


@dataclass(frozen=True)
class STUConfig:
    enabled: bool = True
    states: int = _option(3, low=1, high=3)
    width: int = _option(256, low=1)  # channels of each state
    whole_frame: bool = True  # the states above the first are of the whole frame, not of each position
    bands: bool = (
        True  # forget gates confined to disjoint bands; false: free, started at half-lives of 1, 3.4 and 14 steps
    )
    # what each level above the first hears of the whole frame, one level down; for whole_frame: false
    broadcast: str = _option("none", choices=("none", "mean", "max"))
    elapsed_time: bool = True  # forget gates raised to the elapsed time
    # forget gates that also see their own state one step ago, as a GRU's: sequential, the loop alone
    gates_see_state: bool = False
    # how the recurrence is computed, the result being the same; auto: what was measured to be fastest (benchmarks/stu.py)
    form: str = _option("auto", choices=("auto", "loop", "closed", "scan"))


@dataclass(frozen=True)
class AttentionConfig:
    sca: bool = True  # Spatial Channel Attention
    tsa: bool = True  # Temporal Self-Attention
    sca_gates: tuple[str, ...] = _option(GATES, choices=GATES)
    sca_reduction: int = _option(32, low=1)  # the channel gate's bottleneck is C / sca_reduction
    sca_kernel: int = _option(7, choices=(3, 5, 7))  # the spatial gate's convolution
    sca_identity: bool = False  # gates of 2 sigmoid, which start near 1, in place of sigmoid, which start near a half
    tsa_width: int = _option(128, low=2)  # channels of queries, keys and values together
    tsa_heads: int = _option(4, low=1)
    tsa_position: bool = True  # whether TSA is told the frames' times
    tsa_relative: bool = False  # by differences of times, in place of a code of each time since the clip's start


@dataclass(frozen=True)
class ModelConfig:
    temporal: str = _option("hitagu", choices=("hitagu", "tsn", "tsm", "gru"))
    backbone: BackboneConfig = _option(BackboneConfig)
    mde: MDEConfig = _option(MDEConfig)
    stu: STUConfig = _option(STUConfig)
    attention: AttentionConfig = _option(AttentionConfig)
    # what the classifier reads of the frames: their mean, the last one, or both side by side
    readout: str = _option("mean", choices=("mean", "last", "both"))
    dropout: float = _option(0.5, low=0.0, high=0.99)


@dataclass(frozen=True)
class TrainConfig:
    init: str | None = None  # a checkpoint of this library to start from, in place of model.backbone.weights
    # its classifier (and centres): keep, where the classes are the same, or replace by new ones
    init_head: str = _option("keep", choices=("keep", "replace"))
    epochs: int = _option(50, low=1)
    batch_size: int = _option(8, low=1)  # clips that a process has in the network at a time
    accumulate: int = _option(1, low=1)  # batches that a process adds up to one step
    # to start on this machine, one a GPU (under torchrun its own number counts); a step: batch_size x accumulate x processes clips
    processes: int = _option(1, low=1, high=1024)
    lr: float = _option(0.01, low=0.0)  # peak learning rate
    lr_batch: int | None = _option(None, low=1)  # clips a step that lr is for: scaled in proportion; null: lr as it is
    optimizer: str = _option("sgd", choices=("sgd", "adamw"))
    momentum: float = _option(0.9, low=0.0, high=0.999)  # SGD's
    weight_decay: float = _option(5e-4, low=0.0)
    warmup_epochs: float = _option(5.0, low=0.0)
    label_smoothing: float = _option(0.1, low=0.0, high=0.99)
    both_directions: bool = False  # also play clips of data.reverse_swaps backwards, under the partner's label
    clip_norm: float = _option(20.0, low=0.0)  # 0: no gradient clipping
    center_loss: bool = False
    lambda_center: float = _option(0.1, low=0.0)
    center_lr: float = _option(0.5, low=0.0)  # the centres' own rate
    temporal_loss: bool = False
    lambda_temporal: float = _option(0.05, low=0.0)
    # decay, step by step, of an average of the weights, which is then what is validated and kept; 0: none
    ema: float = _option(0.0, low=0.0, high=0.99999)
    sync_bn: bool = False  # BatchNorm's statistics over the clips of all processes: GPUs only
    # auto: bf16 on CUDA that has it, else fp32
    precision: str = _option("auto", choices=("auto", "fp32", "bf16", "fp16"))
    seed: int = _option(0, low=0)
    eval_every: int = _option(1, low=1)  # epochs between validations; the last epoch always is
    checkpoint_every: int | None = _option(
        None, low=1
    )  # steps between checkpoints within an epoch; null: after each epoch

    @property
    def world_size(self) -> int:
        """Processes that this training has, as torchrun counts them, or would start."""
        return int(os.environ["WORLD_SIZE"]) if "WORLD_SIZE" in os.environ else self.processes

    def global_batch_size(self, world_size: int | None = None) -> int:
        """Clips a step, over all processes."""
        return self.batch_size * self.accumulate * (self.world_size if world_size is None else world_size)

    def peak_lr(self, world_size: int | None = None) -> float:
        """The peak learning rate: `lr`, in proportion to the global batch size where `lr_batch` says what `lr` is for."""
        return self.lr if self.lr_batch is None else self.lr * self.global_batch_size(world_size) / self.lr_batch


@dataclass(frozen=True)
class EvalConfig:
    batch_size: int = _option(16, low=1)
    order_tests: bool = (
        False  # also with frames shuffled and reversed, and `hitagu evaluate` with the middle frame alone
    )
    tsn_baseline: bool = False  # also train TSN by the same recipe
    # what `hitagu evaluate` looks at of a video: hitagu_lib/evaluation/protocols.py
    protocol: str = _option("single", choices=("single", "multi", "tsm_twice"))
    clips: int | None = _option(None, low=1)  # a video; null: the protocol's own number
    crops: int | None = _option(None, low=1)  # a frame; null: the protocol's own number
    crop_size: int | None = _option(None, low=8)  # null: data.image_size for one crop, data.short_side for several
    average: str = _option("probabilities", choices=("probabilities", "logits"))  # of a video's views
    frames_at_once: int = _option(64, low=1)  # in the network at a time: bounds the memory, changes no score


@dataclass(frozen=True)
class Config:
    run: str = "outputs/run"  # the run's folder
    data: DataConfig = _option(DataConfig)
    model: ModelConfig = _option(ModelConfig)
    train: TrainConfig = _option(TrainConfig)
    eval: EvalConfig = _option(EvalConfig)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], source: str = "params") -> Config:
        """Build and check a Config; missing keys keep their defaults.

        Raises ConfigError naming `source`, the key, what was found and what was expected.
        """
        config: Config = _build(cls, mapping, source, "")
        _check_together(config, source)
        return config

    def to_mapping(self) -> dict[str, Any]:
        """Plain dicts, lists and scalars, the form that YAML holds."""
        return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(self)))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, width=120, allow_unicode=True)


def load_config(file: str | Path, overrides: str = "") -> Config:
    """The Config of a params file, with `overrides` such as "train.epochs=2 train.lr=0.01" on top."""
    return resolve(read_params(file), overrides, source=str(file))


def resolve(mapping: Mapping[str, Any], overrides: str = "", source: str = "params") -> Config:
    """Defaults < the file that `base:` names, upon that file's own base and so on < `mapping` < `overrides`.

    `mapping` holds the keys of a params file: `base`, `run`, `data`, `model`, `train`, `eval`.
    """
    mapping = dict(mapping)
    bases: list[str] = []
    while (base := mapping.pop("base", None)) is not None:
        names_it = bases[-1] if bases else source
        if not isinstance(base, str):
            raise ConfigError(f"{names_it}: base is {base!r}; expected the path of a params file, or null")
        if base in bases:
            circle = " -> ".join([*bases[bases.index(base) :], base])
            raise ConfigError(f"{names_it}: base is {base}, which rests on this file: {circle}; expected an end")
        bases.append(base)
        mapping = _merged(read_params(base), mapping)  # and with the base that the file names, if any
    for item in shlex.split(overrides):
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"overrides: found {item!r}; expected key=value, such as train.epochs=2")
        mapping = _merged(mapping, _nested(key.split("."), _scalar(text, key)))
    return Config.from_mapping(mapping, source)


def read_params(file: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file: no Python tags, no key twice."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = Path(file).parent
        near = difflib.get_close_matches(Path(file).name, [p.name for p in folder.glob("*.yaml")], n=1, cutoff=0.4)
        hint = f"; did you mean {folder / near[0]}?" if near else ""
        raise ConfigError(f"{file}: no such params file (looked from {Path.cwd()}){hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    try:
        mapping = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{file}:{line}: {error.problem}; expected plain YAML values") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{file}: found {type(mapping).__name__}; expected the sections {', '.join(SECTIONS)}")
    return mapping


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key_node.value!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _scalar(text: str, key: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"overrides: {key}: {text!r} is not a YAML value") from error


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return typing.cast("dict[str, Any]", value)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _build(cls: type, mapping: Any, source: str, prefix: str) -> Any:
    if not isinstance(mapping, Mapping):
        raise ConfigError(
            f"{source}: {prefix.rstrip('.') or 'the file'}: found {mapping!r}; expected a mapping of keys"
        )
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in mapping.items():
        if key not in known:
            raise ConfigError(f"{source}: {prefix}{key}: unknown key{_nearest(str(key), known)}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            values[key] = _build(typing.cast(type, hint), value, source, f"{prefix}{key}.")
        else:
            where = f"{source}: {prefix}{key}"
            values[key] = _ranged(_typed(value, hint, where), known[key].metadata, where)
    return cls(**values)


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` wants it: bool, int, float, str, X | None, tuple[X, ...] or tuple[X, Y]."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _typed(value, next(a for a in args if a is not type(None)), where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: found {value!r}; expected a list")
        inner = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(inner) != len(value):
            raise ConfigError(f"{where}: found {value!r}; expected a list of {len(inner)}")
        return tuple(_typed(item, of, f"{where}[{i}]") for i, (item, of) in enumerate(zip(value, inner, strict=True)))
    if hint is float and not isinstance(value, bool):
        try:  # YAML 1.1 reads 1e-3 as a string: a float field can only mean the number
            return float(value)
        except (TypeError, ValueError):
            pass
    elif type(value) is hint:
        return value
    raise ConfigError(f"{where}: found {value!r} ({type(value).__name__}); expected {hint.__name__}")


def _ranged(value: Any, metadata: Mapping[str, Any], where: str) -> Any:
    choices, low, high = (metadata.get(k) for k in ("choices", "low", "high"))
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item is not None and item not in choices:
            near = difflib.get_close_matches(str(item), [str(c) for c in choices], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{where}: found {item!r}; expected one of {', '.join(map(str, choices))}{hint}")
        # `not (low <= item)` rather than `item < low`: NaN is out of every range
        if (low is not None and item is not None and not low <= item) or (high is not None and not item <= high):
            bounds = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ConfigError(f"{where}: found {item!r}; expected {bounds}")
    return value


def _check_together(config: Config, source: str) -> None:
    """What no single key can tell."""
    data, model = config.data, config.model
    if data.image_size > data.short_side:
        raise ConfigError(
            f"{source}: data.image_size: found {data.image_size}; expected at most data.short_side = {data.short_side}"
        )
    for stage in model.mde.taps if model.mde.enabled else ():
        if GRIDS[stage] > GRIDS[model.backbone.cut]:
            raise ConfigError(
                f"{source}: model.mde.taps: found {stage}, beyond model.backbone.cut = {model.backbone.cut}"
            )
    mde, attention = model.mde, model.attention
    named = {"mde.taps": mde.taps, "mde.reads": mde.reads, "attention.sca_gates": attention.sca_gates}
    for key, names in named.items():
        if len(set(names)) < len(names):
            raise ConfigError(f"{source}: model.{key}: found {list(names)}; expected each name once")
    if mde.enabled and not mde.taps:
        raise ConfigError(f"{source}: model.mde.taps: found none; expected a stage, or model.mde.enabled: false")
    if mde.enabled and not (mde.reads or mde.shift_radius):
        raise ConfigError(
            f"{source}: model.mde.reads: found none, and shift_radius 0; expected either, or model.mde.enabled: false"
        )
    if mde.enabled and not (mde.gate or mde.embedding):
        raise ConfigError(
            f"{source}: model.mde.gate and embedding: found both false; expected one, or model.mde.enabled: false"
        )
    if attention.sca and not attention.sca_gates:
        raise ConfigError(f"{source}: model.attention.sca_gates: found none; expected a gate, or sca: false")
    if model.stu.gates_see_state and model.stu.form not in ("auto", "loop"):
        raise ConfigError(
            f"{source}: model.stu.form: found {model.stu.form}; "
            "expected auto or loop, the only forms for model.stu.gates_see_state: true"
        )
    if model.stu.whole_frame and model.stu.broadcast != "none":
        raise ConfigError(
            f"{source}: model.stu.broadcast: found {model.stu.broadcast}; expected none, or model.stu.whole_frame: false"
        )
    if model.attention.tsa_width % (2 * model.attention.tsa_heads):
        raise ConfigError(
            f"{source}: model.attention.tsa_width: found {model.attention.tsa_width}; "
            f"expected a multiple of 2 x tsa_heads = {2 * model.attention.tsa_heads}"
        )
