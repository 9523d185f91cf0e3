"""The picture of the network: an SVG of its modules, one row each, with the shapes that the code itself gives.

    recipe -> model without values (the meta device) -> one clip through it -> each module's output shape -> SVG

`python -m hitagu_lib.viz.network` (make figures) writes book/figures/*.svg: the whole network, and the same with one module lit for each
chapter that takes a module. A picture brings its own ground, and colours for light and dark pages.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from hitagu_lib.config import Config, load_config
from hitagu_lib.files import project_root, write_atomic
from hitagu_lib.models.cost import ASSUMED_CLASSES, shape_model

RECIPE = "params/ssv2.yaml"
FOLDER = "book/figures"
PICTURES: dict[str, tuple[str, ...]] = {
    "network": (),
    "network_backbone": ("backbone",),
    "network_mde": ("mde",),
    "network_stu": ("stu",),
    "network_attention": ("sca", "tsa"),
    "network_head": ("head",),
}
"""File name without its ending -> the modules that are lit."""

ROLES = {
    "clip": ("Clip", "frames of a video"),
    "backbone": ("{backbone}", "each frame alone, up to {cut}"),
    "mde": ("MDE", "what moved, and which way"),
    "stu": ("3STU", "short, mid and long memory"),
    "sca": ("SCA", "which channels, which places"),
    "tsa": ("TSA", "which frames"),
    "head": ("Classifier", "a score for each action"),
}
"""Child module, in the order of the pipeline -> its name in the picture, what it finds."""

LIGHT = {"ground": "#ffffff", "box": "#f2f4f6", "line": "#5c6670", "text": "#1a1a1a", "lit": "#01588a", "on": "#ffffff"}
DARK = {"ground": "#15191e", "box": "#262d35", "line": "#a3adb8", "text": "#f2f4f6", "lit": "#9ad7ff", "on": "#101418"}
"""Colours on light and on dark pages; "on": text on a lit box. A lit box differs in brightness too, so the picture is clear in grey."""

WIDTH, ROW, GAP, MARGIN, BOX = 400, 54, 14, 8, 240  # in the picture's own units; WIDTH of them fill a phone
FONT, SMALL = 16, 13


def output_shapes(cfg: Config, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return "clip" and each child module of the recipe's network -> the shape of its output for one clip, without the batch."""
    # The shapes of a causal network are those of the usual one, which calls its modules where hooks see it.
    model = shape_model(dataclasses.replace(cfg.model, causal=False), num_classes).eval()
    T, S = cfg.data.num_frames, cfg.data.image_size
    shapes: dict[str, tuple[int, ...]] = {"clip": (T, 3, S, S)}

    def record(name: str, output: Any) -> None:
        if isinstance(output, Mapping):
            output = output[cfg.model.backbone.cut]
        first: Tensor = output if isinstance(output, Tensor) else output[0]
        # The modules that see one frame alone fold the clip's frames into the batch.
        shapes[name] = tuple(first.shape[first.shape[0] == 1 :])

    for name, child in model.named_children():
        child.register_forward_hook(lambda module, inputs, output, name=name: record(name, output))
    with torch.inference_mode():
        model(torch.empty(1, T, 3, S, S, device="meta"))
    return {name: shapes[name] for name in ROLES if name in shapes}


def network_svg(cfg: Config, num_classes: int, lit: Collection[str] = (), source: str = RECIPE) -> str:
    """Return the picture as an SVG document; `lit` names the child modules to emphasise.

    source: where the shapes come from, for the line below the picture.
    Raises ValueError for a module that the network does not have.
    """
    shapes = output_shapes(cfg, num_classes)
    if unknown := set(lit) - shapes.keys():
        raise ValueError(f"lit: found {', '.join(sorted(unknown))}; the network has {', '.join(shapes)}")
    height = 2 * MARGIN + len(shapes) * (ROW + GAP) + 24
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": str(WIDTH),
            "height": str(height),
            "role": "img",
            "aria-labelledby": "title desc",
        },
    )
    _add(svg, "title", description(shapes, cfg, lit), id="title")
    _add(svg, "desc", "; ".join(f"{_name(key, cfg)}: {_times(shape)}" for key, shape in shapes.items()), id="desc")
    _add(svg, "style", _style())
    _add(svg, "rect", width=WIDTH, height=height, rx=8, CLASS="ground")
    for row, (key, shape) in enumerate(shapes.items()):
        y = MARGIN + row * (ROW + GAP)
        if row:
            middle = MARGIN + BOX / 2
            _add(svg, "path", d=f"M{middle} {y - GAP}v{GAP - 6}", CLASS="line")
            _add(svg, "path", d=f"M{middle - 5} {y - 7}h10l-5 6z", CLASS="head")
        _draw_row(svg, y, key, shape, cfg, key in lit)
    for line, words in enumerate((f"Shapes of one clip of {source}:", "frames × channels × height × width")):
        _add(svg, "text", words, x=MARGIN, y=height - MARGIN - 20 + 17 * line, CLASS="note")
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def description(shapes: Mapping[str, Sequence[int]], cfg: Config, lit: Collection[str] = ()) -> str:
    """Return the picture's alt text."""
    names = [_name(key, cfg) for key in shapes]
    text = f"The network, from top to bottom: {', '.join(names)}, each with the shape of its output."
    return text + (f" Lit: {', '.join(_name(key, cfg) for key in shapes if key in lit)}." if lit else "")


def _draw_row(svg: ElementTree.Element, y: float, key: str, shape: Sequence[int], cfg: Config, lit: bool) -> None:
    on = " on" if lit else ""
    _add(svg, "rect", x=MARGIN, y=y, width=BOX, height=ROW, rx=6, CLASS="lit" if lit else "box")
    _add(svg, "text", _name(key, cfg), x=MARGIN + 12, y=y + 23, CLASS=f"name{on}")
    _add(svg, "text", ROLES[key][1].format(cut=cfg.model.backbone.cut), x=MARGIN + 12, y=y + 43, CLASS=f"small{on}")
    # A sheet for each frame. Its side follows the map's side, its thickness the channels, both by their logarithms.
    left, base = MARGIN + BOX + 12, y + 30
    sheets = shape[0] if len(shape) > 1 else 1
    side = 4 + 3 * math.log2(shape[-1]) if len(shape) == 4 else 5
    thick = 1 + math.log2(shape[1] if len(shape) > 1 else shape[0]) / 2
    step = (WIDTH - MARGIN - left - thick) / max(8, sheets)
    for i in range(sheets):
        _add(svg, "rect", x=left + i * step, y=base - side, width=thick, height=side, rx=1, CLASS="sheet")
    _add(svg, "text", _times(shape), x=left, y=y + 48, CLASS="small")


def _name(key: str, cfg: Config) -> str:
    return ROLES[key][0].format(backbone=cfg.model.backbone.name.replace("resnet", "ResNet-"))


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str | float) -> None:
    """Add an element. CLASS is its class; numbers are rounded, so that every machine writes the same file."""
    values = {
        name.lower(): value if isinstance(value, str) else f"{value:.5g}" for name, value in sorted(attributes.items())
    }
    ElementTree.SubElement(parent, tag, values).text = text or None


def _style() -> str:
    def colours(of: Mapping[str, str]) -> str:
        return (
            f".ground{{fill:{of['ground']}}}.box{{fill:{of['box']};stroke:{of['line']}}}"
            f".lit{{fill:{of['lit']};stroke:{of['text']};stroke-width:3}}"
            f".line{{stroke:{of['line']};stroke-width:1.5}}.head,.sheet{{fill:{of['line']}}}"
            f"text{{fill:{of['text']}}}.on{{fill:{of['on']}}}"
        )

    return (
        "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"
        f".name{{font-size:{FONT}px;font-weight:700}}.small{{font-size:{SMALL}px}}.note{{font-size:{SMALL}px}}"
        f"{colours(LIGHT)}@media(prefers-color-scheme:dark){{{colours(DARK)}}}"
    )


def pictures() -> dict[str, str]:
    """Return file name -> SVG of all pictures of the book."""
    cfg = load_config(project_root() / RECIPE)
    return {f"{name}.svg": network_svg(cfg, ASSUMED_CLASSES, lit) for name, lit in PICTURES.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=project_root() / FOLDER)
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures().items():
        write_atomic(out / name, [svg])
        print(out / name)


if __name__ == "__main__":
    main()
