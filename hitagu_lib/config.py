"""One tree of dataclasses for every setting of a run, and the only code that reads `params/`.

    params/*.yaml  --load_config-->  Config  --Config.to_yaml-->  outputs/<run>/params.yaml

Pydantic checks the type, range and choices of each value. An error names the file and line (or `overrides`), the key, what was
found and what was expected; an unknown key is answered with the nearest known one. Relative paths start from the current folder,
which the notebooks set to the project's root.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import yaml
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticCustomError

from hitagu_lib.errors import ConfigError

Stage = Literal["layer1", "layer2", "layer3", "layer4"]
STAGES: tuple[Stage, ...] = typing.get_args(Stage)
Tap = Literal["stem", "layer1", "layer2", "layer3", "layer4"]
GRIDS: dict[str, int] = {"stem": 0, "layer1": 0, "layer2": 1, "layer3": 2, "layer4": 3}
"""How often each map's grid is halved after the stem."""
Temporal = Literal["hitagu", "tsn", "tsm", "gru"]
SECTIONS = ("data", "model", "train", "eval")

_KeyPath = tuple[str | int, ...]

# Plain values, as YAML 1.2 has them but for numbers that begin with a needless 0, which might be names: 010 stays text.
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")


def _number(value: Any) -> Any:
    """Read text such as 1e-3 as a number: YAML 1.1, which papermill reads, has it as text."""
    return float(value) if isinstance(value, str) and _FLOAT.match(value) else value


def _int_alone(value: Any) -> Any:
    """Refuse True and 1.0, which equal 1, as choices."""
    if type(value) is not int:
        raise ValueError
    return value


Float = Annotated[float, BeforeValidator(_number), Strict()]
IntChoice = BeforeValidator(_int_alone)

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def _section(cls: type[_Class]) -> type[_Class]:
    """Make `cls` a frozen pydantic dataclass whose constructor, and so `dataclasses.replace`, raises ConfigError."""
    section: Any = pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)
    validate = section.__init__

    @functools.wraps(validate)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except ValidationError as error:
            raise ConfigError(_explanation(error, section, lambda paths: cls.__name__)) from None

    section.__init__ = __init__
    return typing.cast("type[_Class]", section)


def _conflict(problem: str, *keys: str) -> PydanticCustomError:
    """The error of values that do not go together: `problem` is that of the first key."""
    return PydanticCustomError("conflict", "{problem}", {"problem": problem, "keys": keys})


@_section
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
    dense_span: StrictInt = Field(default=64, ge=1)  # frames that a dense clip spans
    ref_stride: Float = Field(default=8.0, ge=0.01)  # frames in one unit of t
    short_side: StrictInt = Field(default=256, ge=8)  # evaluation: the frame's short side before the centre crop
    image_size: StrictInt = Field(default=224, ge=8)  # side of the crop that the network sees
    min_scale: Float = Field(default=0.66, ge=0.05, le=1.0)  # training: smallest crop side / short side
    hflip: StrictBool = False  # mirror half of the training clips
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
            raise _conflict(problem, "image_size", "short_side")
        return self


@_section
class BackboneConfig:
    name: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    cut: Stage = "layer4"  # the last stage that is kept
    # A name from torchvision's weights enum, such as IMAGENET1K_V2, or a .pt or .pth file; null: random weights.
    weights: str | None = None
    frozen_stages: StrictInt = Field(default=0, ge=0, le=5)  # 1: the stem; 2: also layer1; ...
    frozen_bn: StrictBool = False  # keep BatchNorm's running statistics as loaded


@_section
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
            raise _conflict(f"found none; expected a stage, {off}", "taps")
        if self.enabled and not (self.reads or self.shift_radius):
            raise _conflict(f"found none, and shift_radius 0; expected either, {off}", "reads", "shift_radius")
        if self.enabled and not (self.gate or self.embedding):
            raise _conflict(f"found false, and embedding false; expected one of them, {off}", "gate", "embedding")
        return self


@_section
class STUConfig:
    enabled: StrictBool = True
    states: StrictInt = Field(default=3, ge=1, le=3)
    width: StrictInt = Field(default=256, ge=1)  # channels of each state
    whole_frame: StrictBool = True  # the states above the first are of the whole frame, not of each position
    bands: StrictBool = True  # confine the forget gates to disjoint bands
    elapsed_time: StrictBool = True  # raise the forget gates to the elapsed time
    # Let the forget gates also see their own state one step ago, as a GRU's do: sequential, by the loop alone.
    gates_see_state: StrictBool = False
    # How to compute the recurrence; each gives the same result. auto: the form measured to be fastest (benchmarks/stu.py).
    form: Literal["auto", "loop", "closed", "scan"] = "auto"

    @model_validator(mode="after")
    def _check(self) -> STUConfig:
        if self.gates_see_state and self.form not in ("auto", "loop"):
            problem = f"found {self.form}; expected auto or loop, the only forms for model.stu.gates_see_state: true"
            raise _conflict(problem, "form", "gates_see_state")
        return self


@_section
class AttentionConfig:
    sca: StrictBool = True  # Spatial Channel Attention
    tsa: StrictBool = True  # Temporal Self-Attention
    sca_gates: tuple[Literal["channel", "spatial"], ...] = ("channel", "spatial")
    sca_reduction: StrictInt = Field(default=32, ge=1)  # the channel gate's bottleneck has C / sca_reduction channels
    sca_kernel: Annotated[Literal[3, 5, 7], IntChoice] = 7  # the spatial gate's convolution
    tsa_width: StrictInt = Field(default=128, ge=2)  # channels of queries, keys and values, over all heads
    tsa_heads: StrictInt = Field(default=4, ge=1)
    tsa_position: StrictBool = True  # the position code, computed from the frames' times

    @model_validator(mode="after")
    def _check(self) -> AttentionConfig:
        _check_unique(self.sca_gates, "sca_gates")
        if self.sca and not self.sca_gates:
            raise _conflict("found none; expected a gate, or sca: false", "sca_gates")
        if self.tsa_width % (2 * self.tsa_heads):
            problem = f"found {self.tsa_width}; expected a multiple of 2 x tsa_heads = {2 * self.tsa_heads}"
            raise _conflict(problem, "tsa_width", "tsa_heads")
        return self


def _check_unique(names: Sequence[str], key: str) -> None:
    if len(set(names)) < len(names):
        raise _conflict(f"found {list(names)}; expected each name once", key)


@_section
class ModelConfig:
    temporal: Temporal = "hitagu"
    backbone: BackboneConfig = BackboneConfig()
    mde: MDEConfig = MDEConfig()
    stu: STUConfig = STUConfig()
    attention: AttentionConfig = AttentionConfig()
    dropout: Float = Field(default=0.5, ge=0.0, le=0.99)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        for stage in self.mde.taps if self.mde.enabled else ():
            if GRIDS[stage] > GRIDS[self.backbone.cut]:
                problem = f"found {stage}, beyond model.backbone.cut = {self.backbone.cut}"
                raise _conflict(problem, "mde.taps", "backbone.cut")
        return self


@_section
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
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Float = Field(default=0.9, ge=0.0, le=0.999)  # SGD's
    weight_decay: Float = Field(default=5e-4, ge=0.0)
    warmup_epochs: Float = Field(default=5.0, ge=0.0)
    label_smoothing: Float = Field(default=0.1, ge=0.0, le=0.99)
    # Also play clips of data.reverse_swaps backwards, under the partner's label.
    both_directions: StrictBool = False
    clip_norm: Float = Field(default=20.0, ge=0.0)  # 0: no gradient clipping
    center_loss: StrictBool = False
    lambda_center: Float = Field(default=0.1, ge=0.0)
    center_lr: Float = Field(default=0.5, ge=0.0)  # the centres' own rate
    temporal_loss: StrictBool = False
    lambda_temporal: Float = Field(default=0.05, ge=0.0)
    # Decay per step of an average of the weights, which is then what is validated and kept; 0: no average.
    ema: Float = Field(default=0.0, ge=0.0, le=0.99999)
    sync_bn: StrictBool = False  # take BatchNorm's statistics over the clips of all processes; GPUs only
    # auto: bf16 on a CUDA GPU that supports it, else fp32.
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: StrictInt = Field(default=0, ge=0)
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


@_section
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


@_section
class Config:
    run: str = "outputs/run"  # the run's folder
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], source: str = "params") -> Config:
        """Build and check a Config; missing keys keep their defaults.

        Raises ConfigError with one line per problem: `source`, the key, what was found and what was expected.
        """
        return _validated([_Layer(source, mapping)])

    def to_mapping(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars, as YAML holds them."""
        return typing.cast("dict[str, Any]", _plain(dataclasses.asdict(self)))

    def to_yaml(self) -> str:
        return yaml.dump(self.to_mapping(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


# Layers: files, mappings and overrides, each over the one before


def load_config(file: str | Path, overrides: str = "") -> Config:
    """Return the Config of a params file, with `overrides` such as "train.epochs=2 train.lr=0.01" on top.

    A value with spaces goes in quotes or brackets: run="outputs/my run", model.mde.taps=[layer1, layer2].
    Raises ConfigError with one line per problem: the file and line, or `overrides`, and the key.
    """
    return _resolved(_read(file), overrides)


def resolve(mapping: Mapping[str, Any], overrides: str = "", source: str = "params") -> Config:
    """Defaults < the file that `base:` names, over that file's own base and so on < `mapping` < `overrides`.

    `mapping` holds the keys of a params file: `base`, `run`, `data`, `model`, `train`, `eval`; errors call it `source`.
    """
    return _resolved(_Layer(source, mapping), overrides)


def read_params(file: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Values are those of YAML 1.2: 1e-3 is a number, true and false are the only booleans; 010, 1_000, 1:30, on, no and 2024-01-01 are
    text. Raises ConfigError for a file that is missing or no mapping, for tags and for a key given twice, with the line.
    """
    return dict(_read(file).mapping)


@dataclasses.dataclass(frozen=True)
class _Layer:
    source: str
    mapping: Mapping[str, Any]
    node: yaml.Node | None = None  # what YAML parsed the mapping from, with its lines

    def place(self, path: _KeyPath) -> str | None:
        """Return the source, and its line if known, of the key at `path`; None where this layer does not set it."""
        value: Any = self.mapping
        node, line = self.node, None
        for step in path:
            try:
                value = value[step]
            except (LookupError, TypeError):
                return None
            if node:
                node, line = _child(node, step)
        return f"{self.source}:{line}" if line else self.source


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node | None, int]:
    """The node under a key or index, and its line."""
    if isinstance(node, yaml.MappingNode):
        # From the end: what `<<` merges comes before the mapping's own keys.
        for key, value in reversed(node.value):
            if key.value == str(step):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step], node.value[step].start_mark.line + 1
    return None, node.start_mark.line + 1


def _read(file: str | Path) -> _Layer:
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
        mapping, node = _parsed(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{file}:{line}: {error.problem}; expected plain YAML values") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{file}: found {type(mapping).__name__}; expected the sections {', '.join(SECTIONS)}")
    return _Layer(str(file), mapping, node)


def _parsed(text: str) -> tuple[Any, yaml.Node | None]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    finally:
        loader.dispose()


def _resolved(top: _Layer, overrides: str) -> Config:
    layers = [top]
    while (base := layers[0].mapping.get("base")) is not None:
        where, bases = layers[0].place(("base",)), [layer.source for layer in layers[-2::-1]]
        if not isinstance(base, str):
            raise ConfigError(f"{where}: base: found {base!r}; expected the path of a params file, or null")
        if base in bases:
            circle = " -> ".join([*bases[bases.index(base) :], base])
            raise ConfigError(f"{where}: base: found {base}, whose bases lead back to it: {circle}")
        layers.insert(0, _read(base))
    layers = [dataclasses.replace(x, mapping={k: v for k, v in x.mapping.items() if k != "base"}) for x in layers]
    return _validated([*layers, *_override_layers(overrides)], top.source)


def _merged(below: Any, above: Any) -> Any:
    """`above` over `below`, mapping by mapping."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _merged(below[key], value) if key in below else value for key, value in above.items()}}


def _validated(layers: Sequence[_Layer], source: str | None = None) -> Config:
    """Check the merged layers. `source` names the place of keys that no layer sets."""
    mapping = functools.reduce(_merged, (layer.mapping for layer in layers))

    def place(paths: Sequence[_KeyPath]) -> str:
        """Where the first of `paths` that a layer sets comes from: the topmost layer wins."""
        found = (layer.place(path) for path in paths for layer in reversed(layers))
        return next(filter(None, found), source or layers[0].source)

    try:
        return _CONFIG.validate_python(mapping)
    except ValidationError as error:
        raise ConfigError(_explanation(error, Config, place)) from None


_CONFIG = TypeAdapter(Config)


# Overrides

_OVERRIDE = re.compile(
    r"""\s*(?:
        (?P<quote>["'])(?P<whole>[^\s="']+=.*?)(?P=quote)  # "key=a value with spaces"
      | (?P<key>[^\s="']+)=(?P<value>
            "[^"]*" | '[^']*'                              # key="a value with spaces"
          | [\[{].*?[\]}]                                  # key=[a, list]
          | (?!["'])\S*                                    # key=value
        )
    )(?=\s|\Z)""",
    re.VERBOSE | re.DOTALL,
)


def _override_layers(overrides: str) -> Iterator[_Layer]:
    """One layer per key=value. Backslashes, and quotes within a word, are text like any other."""
    if not isinstance(overrides, str):
        raise ConfigError(f"overrides: found {overrides!r} ({type(overrides).__name__}); expected text of key=value")
    rest = overrides.strip()
    while rest:
        match = _OVERRIDE.match(rest)
        if match is None:
            raise ConfigError(
                f"overrides: found {rest!r}; expected key=value, such as train.epochs=2, or with spaces "
                'run="outputs/my run"'
            )
        rest = rest[match.end() :].lstrip()
        key, _, text = (match["whole"] or f"{match['key']}={match['value']}").partition("=")
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            text = text[1:-1]
        value = _override_value(key, text)
        for step in reversed(key.split(".")):
            value = {step: value}
        yield _Layer("overrides", value)


def _override_value(key: str, text: str) -> Any:
    """`text` itself for a key that holds text, such as a path; else the YAML value."""
    field = _field(Config, key.split("."))
    if field and _bare(field.annotation) is str:
        return None if _NULL.match(text) else text
    try:
        return _parsed(text)[0]
    except yaml.YAMLError as error:
        raise ConfigError(f"overrides: {key}: found {text!r}; expected a YAML value") from error


# YAML


class _Loader(yaml.SafeLoader):
    """SafeLoader of YAML 1.2's plain values that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Return the number; an explicit !!int or !!float makes none of other text."""
        kind, pattern = (int, _INT) if node.tag.endswith(":int") else (float, _FLOAT)
        try:
            if pattern.match(node.value):
                return kind(node.value)
        except ValueError:  # Python's int stops at 4300 digits
            pass
        problem = f"{node.value!r} is no plain {kind.__name__}"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes each text which YAML 1.1 or `_Loader` would take for something else."""


# Without dates, binary data and sets, and (in the patterns below) YAML 1.1's numbers and booleans.
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "bool", "str", "seq", "map")
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.yaml_implicit_resolvers = {}
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
    _class.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
    _class.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])


# Errors


def _field(cls: Any, path: Sequence[str | int]) -> Any:
    """Pydantic's description of the field at `path`, list indices left out; None where there is none."""
    field = None
    for step in path:
        if isinstance(step, int):
            break
        field = getattr(cls, "__pydantic_fields__", {}).get(step)
        cls = field and field.annotation
    return field


def _bare(hint: Any) -> Any:
    """A type without `Annotated` and `| None`."""
    if typing.get_origin(hint) is Annotated:
        return _bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _bare(next(a for a in typing.get_args(hint) if a is not types.NoneType))
    return hint


def _keys(cls: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all values in the tree of `cls`."""
    for name, field in cls.__pydantic_fields__.items():
        if dataclasses.is_dataclass(field.annotation):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _explanation(error: ValidationError, cls: Any, place: Callable[[Sequence[_KeyPath]], str]) -> str:
    """One line per problem, `place` giving the source of the first known of several keys."""
    lines = []
    for details in error.errors(include_url=False):
        kind, path, context = details["type"], details["loc"], details.get("ctx", {})
        paths = [path]
        if kind == "conflict":
            paths = [(*path, *key.split(".")) for key in context["keys"]]
        elif kind == "missing":
            paths = [path[:-1]]  # an item of a list that is too short
        in_list = kind != "invalid_key"  # that is a key which is a number
        key = "".join(f"[{step}]" if in_list and isinstance(step, int) else f".{step}" for step in paths[0])
        problem = context["problem"] if kind == "conflict" else _problem(kind, details["input"], paths[0], cls)
        lines.append(": ".join(filter(None, [place(paths), key.removeprefix("."), problem])))
    return "\n".join(lines)


def _problem(kind: str, value: Any, path: _KeyPath, cls: Any) -> str:
    """What was found at `path`, and what was expected."""
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        return f"unknown key{_nearest(str(path[-1]), path[:-1], cls)}"
    field = _field(cls, path)
    if field is None or dataclasses.is_dataclass(field.annotation):
        return f"found {value!r}; expected a mapping of keys"
    hint = _bare(field.annotation)
    for _ in range(sum(isinstance(step, int) for step in path)):
        hint = _bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        return f"found {value!r}; expected a list{'' if items[-1] is ... else f' of {len(items)}'}"
    if typing.get_origin(hint) is Literal:
        choices = [str(choice) for choice in typing.get_args(hint)]
        near = difflib.get_close_matches(str(value), choices, n=1)
        return f"found {value!r}; expected one of {', '.join(choices)}" + (f"; did you mean {near[0]}?" if near else "")
    if kind in ("greater_than_equal", "less_than_equal", "finite_number"):
        low, high = (next((getattr(m, end) for m in field.metadata if hasattr(m, end)), None) for end in ("ge", "le"))
        return f"found {value!r}; expected " + (f"at least {low}" if high is None else f"from {low} to {high}")
    expected = "bool, true or false" if hint is bool else hint.__name__
    if types.NoneType in typing.get_args(field.annotation):
        expected += " or null"
    if hint is str and isinstance(value, (bool, int, float)):
        expected += ", so put it in quotes"
    return f"found {value!r} ({type(value).__name__}); expected {expected}"


def _nearest(name: str, section: _KeyPath, cls: Any) -> str:
    """The most similar key of the section, else keys of that name in other sections, else what the section knows."""
    field = _field(cls, section)
    known = list((field.annotation if field else cls).__pydantic_fields__)
    near = difflib.get_close_matches(name, known, n=1) or [k for k in _keys(cls) if k.split(".")[-1] == name]
    return f"; did you mean {' or '.join(near)}?" if near else f"; known here: {', '.join(known)}"


# Notebooks


def check_parameters(namespace: Mapping[str, Any], *known: str) -> list[str]:
    """Return the names that papermill set in a chapter; `namespace` is the chapter's `globals()`.

    Raises ConfigError for a name that is not `known`, with the nearest: papermill itself only warns, and the chapter would run with its
    defaults. Works on the cell that papermill inserts, so cells may run in any order and as often as one likes.
    """
    cell = next((cell for cell in reversed(namespace.get("In", ())) if cell.startswith("# Parameters\n")), "")
    targets = [target for node in ast.parse(cell).body if isinstance(node, ast.Assign) for target in node.targets]
    # --inject-paths sets names of papermill's own.
    given = [t.id for t in targets if isinstance(t, ast.Name) and not t.id.startswith("PAPERMILL_")]
    wrong = [
        f"papermill's -p or -f: {name}: unknown parameter{_hint(name, known)}" for name in given if name not in known
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return given


def _hint(name: str, known: Sequence[str]) -> str:
    keys = [key for key in _keys(Config) if key.split(".")[-1] == name] if "overrides" in known else []
    if keys:
        return f'; did you mean -p overrides "{keys[0]}=..."?'
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; this chapter takes {', '.join(known) or 'none'}"


def notebook_config(namespace: Mapping[str, Any]) -> Config:
    """Return the Config of a chapter that takes `params`, a file, and `overrides`; `namespace` is its `globals()`.

    `papermill -f FILE` sets the keys of a params file instead: base, run, data, model, train, eval. They merge over `base` where
    FILE has that key, else over `params`. Raises ConfigError as `check_parameters` and `load_config` do.
    """
    given = check_parameters(namespace, "params", "overrides", "base", "run", *SECTIONS)
    params, overrides = namespace["params"], namespace["overrides"]
    if not isinstance(params, str):
        raise ConfigError(f"params: found {params!r} ({type(params).__name__}); expected the path of a params file")
    if "params" in given and "base" in given:
        raise ConfigError("papermill: found both params and base; expected one, as either names the file underneath")
    keys = {key: namespace.get(key) for key in ("base", "run", *SECTIONS)}
    keys = {key: value for key, value in keys.items() if value is not None or key in given}
    return resolve({"base": params} | keys, overrides, "the notebook") if keys else load_config(params, overrides)
