"""YAML 1.2's plain values, with the line of each key: text such as 010, on or 2024-01-01 is never taken for something else."""

from __future__ import annotations

import re
from typing import Any

import yaml

# Plain values, as YAML 1.2 has them but for numbers that begin with a needless 0, which might be names: 010 stays text.
NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")


def parse(text: str) -> tuple[Any, yaml.Node | None]:
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    finally:
        loader.dispose()


class Loader(yaml.SafeLoader):
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
        kind, pattern = (int, _INT) if node.tag.endswith(":int") else (float, FLOAT)
        try:
            if pattern.match(node.value):
                return kind(node.value)
        except ValueError:  # Python's int stops at 4300 digits
            pass
        problem = f"{node.value!r} is no plain {kind.__name__}"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


class Dumper(yaml.SafeDumper):
    """SafeDumper that quotes each text which YAML 1.1 or `Loader` would take for something else."""


def dump(mapping: dict[str, Any]) -> str:
    """Return YAML that `Loader`, and a reader of YAML 1.1, take for the same values."""
    return yaml.dump(mapping, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)


# Without dates, binary data and sets, and (in the patterns below) YAML 1.1's numbers and booleans.
Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "bool", "str", "seq", "map")
}
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_number)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_number)
Loader.yaml_implicit_resolvers = {}
for _class in (Loader, Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:null", NULL, ["~", "n", "N", ""])
    _class.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
    _class.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
    _class.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])
