"""The library's packages form one order: each imports from those below it alone, and no module imports itself in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "hitagu_lib"
ORDER = [
    "errors", "config", "files", "media", "data", "prepare", "models", "runs", "inference", "evaluation", "training", "viz", "cli",
]  # fmt: skip
"""From the ground up."""


def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module and package of the library."""
    files = {path.relative_to(LIBRARY.parent).with_suffix(""): path for path in LIBRARY.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in files.items()}


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The library's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hitagu_lib":
            yield from ({node.module} | {f"{node.module}.{alias.name}" for alias in node.names}) & known.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known.keys()


def room(module: str) -> str:
    """The entry of the library's top level that a module belongs to; "" for the package itself and its `__main__`."""
    name = (module.split(".") + [""])[1]
    return name if name != "__main__" else ""


def test_the_top_level_can_be_seen_at_a_glance() -> None:
    entries = {path.stem for path in LIBRARY.iterdir() if not path.name.startswith(("_", "."))}
    assert entries == set(ORDER), "a new entry needs its place in ORDER, and README's map"
    assert len(ORDER) <= 13


def test_imports_run_down_the_order() -> None:
    known = modules()
    up = [
        f"{module} imports {other}"
        for module, path in known.items()
        for other in imported(path, known)
        if room(module) and room(other) and ORDER.index(room(other)) > ORDER.index(room(module))
    ]
    assert not up


def test_no_module_imports_itself_in_a_circle() -> None:
    known = modules()
    arrows = {module: set(imported(path, known)) - {module} for module, path in known.items()}
    # A package's own name is imported with each of its modules and imports them in turn: Python allows that, and it is no circle of rooms.
    arrows = {
        module: {other for other in others if not module.startswith(other + ".")} for module, others in arrows.items()
    }
    while free := [module for module, others in arrows.items() if not others & arrows.keys()]:
        for module in free:
            del arrows[module]
    assert not arrows, f"circles among {sorted(arrows)}"
