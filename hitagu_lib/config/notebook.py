"""A chapter's parameters, as papermill sets them: each name is checked."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from hitagu_lib.config.explain import keys_of
from hitagu_lib.config.layers import SECTIONS
from hitagu_lib.config.tree import Config, load_config, resolve
from hitagu_lib.errors import ConfigError


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
    keys = [key for key in keys_of(Config) if key.split(".")[-1] == name] if "overrides" in known else []
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
