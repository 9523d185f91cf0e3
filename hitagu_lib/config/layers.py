"""The layers of a configuration, each over the one before: files, mappings and overrides, with the place that each key comes from."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from hitagu_lib.config.explain import KeyPath, bare, explanation, field_at
from hitagu_lib.config.plain_yaml import NULL, parse
from hitagu_lib.errors import ConfigError

SECTIONS = ("data", "model", "train", "eval")
_Tree = TypeVar("_Tree")


@dataclasses.dataclass(frozen=True)
class Layer:
    """Keys from one place: `source`, a file, `overrides` or whatever else gave the mapping."""

    source: str
    mapping: Mapping[str, Any]
    node: yaml.Node | None = None  # what YAML parsed the mapping from, with its lines

    def place(self, path: KeyPath) -> str | None:
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


def read_layer(file: str | Path) -> Layer:
    """Return the keys of a YAML file. Raises ConfigError for a file that is missing or not a mapping of plain values."""
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
        mapping, node = parse(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{file}:{line}: {error.problem}; expected plain YAML values") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {error}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{file}: found {type(mapping).__name__}; expected the sections {', '.join(SECTIONS)}")
    return Layer(str(file), mapping, node)


def resolved(tree: type[_Tree], top: Layer, overrides: str) -> _Tree:
    """Return the checked tree of `top` over the files that its `base` leads to, with `overrides` over both."""
    layers = [top]
    while (base := layers[0].mapping.get("base")) is not None:
        where, bases = layers[0].place(("base",)), [layer.source for layer in layers[-2::-1]]
        if not isinstance(base, str):
            raise ConfigError(f"{where}: base: found {base!r}; expected the path of a params file, or null")
        if base in bases:
            circle = " -> ".join([*bases[bases.index(base) :], base])
            raise ConfigError(f"{where}: base: found {base}, whose bases lead back to it: {circle}")
        layers.insert(0, read_layer(base))
    layers = [dataclasses.replace(x, mapping={k: v for k, v in x.mapping.items() if k != "base"}) for x in layers]
    return validated(tree, [*layers, *_override_layers(tree, overrides)], top.source)


def _merged(below: Any, above: Any) -> Any:
    """`above` over `below`, mapping by mapping."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _merged(below[key], value) if key in below else value for key, value in above.items()}}


def validated(tree: type[_Tree], layers: Sequence[Layer], source: str | None = None) -> _Tree:
    """Return the checked tree of the merged layers. `source` names the place of keys that no layer sets."""
    mapping = functools.reduce(_merged, (layer.mapping for layer in layers))

    def place(paths: Sequence[KeyPath]) -> str:
        """Where the first of `paths` that a layer sets comes from: the topmost layer wins."""
        found = (layer.place(path) for path in paths for layer in reversed(layers))
        return next(filter(None, found), source or layers[0].source)

    try:
        return TypeAdapter(tree).validate_python(mapping)
    except ValidationError as error:
        raise ConfigError(explanation(error, tree, place)) from None


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {"model.mde.gate": False, ...}: the tree's values by the path of their keys, as overrides name them."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


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


def _override_layers(tree: type, overrides: str) -> Iterator[Layer]:
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
        value = _override_value(tree, key, text)
        for step in reversed(key.split(".")):
            value = {step: value}
        yield Layer("overrides", value)


def _override_value(tree: type, key: str, text: str) -> Any:
    """`text` itself for a key that holds text, such as a path; else the YAML value."""
    field = field_at(tree, key.split("."))
    if field and bare(field.annotation) is str:
        return None if NULL.match(text) else text
    try:
        return parse(text)[0]
    except yaml.YAMLError as error:
        raise ConfigError(f"overrides: {key}: found {text!r}; expected a YAML value") from error
