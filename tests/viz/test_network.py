"""The picture of the network shows the code's own shapes, and the stored files are the current ones."""

import functools
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.textpath import TextPath

mpl.use("Agg")

from hitagu_lib.config import load_config
from hitagu_lib.viz import network
from hitagu_lib.viz.network import DARK, FOLDER, LIGHT, PICTURES, RECIPE, network_svg, output_shapes

ROOT = Path(__file__).resolve().parents[2]
pictures = functools.cache(network.pictures)
SVG = "{http://www.w3.org/2000/svg}"
CHAPTERS = {
    "02a_backbone": "network_backbone",
    "02b_mde": "network_mde",
    "02c_3stu": "network_stu",
    "02d_attention": "network_attention",
    "02e_head_and_losses": "network_head",
}


def texts(svg: str, style: str = "") -> list[str]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return [text.text or "" for text in found if style in text.attrib["class"].split() or not style]


def test_the_stored_pictures_are_those_of_the_code() -> None:
    stored = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / FOLDER).glob("network*.svg")}
    assert stored == pictures(), "the network's shapes have changed: make figures"


@pytest.mark.parametrize(
    ("overrides", "shapes"),
    [
        ("", {"clip": (8, 3, 224, 224), "backbone": (8, 2048, 7, 7), "mde": (8, 2048, 7, 7), "stu": (8, 2048, 7, 7)}
         | {"sca": (8, 2048, 7, 7), "tsa": (8, 2048), "head": (174,)}),
        ("data.num_frames=5 data.image_size=64 model.backbone.cut=layer2 model.mde.enabled=false model.attention.tsa=false",
         {"clip": (5, 3, 64, 64), "backbone": (5, 512, 8, 8), "stu": (5, 512, 8, 8), "sca": (5, 512, 8, 8), "head": (174,)}),
    ],
    ids=["as it is", "smaller, two modules out"],
)  # fmt: skip
def test_shapes_are_those_of_a_clip_through_the_recipe(overrides: str, shapes: dict[str, tuple[int, ...]]) -> None:
    cfg = load_config(ROOT / RECIPE, overrides)
    assert output_shapes(cfg, 174) == shapes
    small = [text for text in texts(network_svg(cfg, 174), "small") if re.fullmatch(r"[\d × ]+", text)]
    assert small == [" × ".join(map(str, shape)) for shape in shapes.values()]


@pytest.mark.parametrize("name", PICTURES)
def test_lit_modules_differ_by_more_than_their_hue_and_the_alt_text_names_them(name: str) -> None:
    svg = ElementTree.fromstring(pictures()[f"{name}.svg"])
    classes = [rect.attrib["class"] for rect in svg.iter(f"{SVG}rect") if rect.attrib["class"] in ("box", "lit")]
    order = list(network.ROLES)
    assert [order[i] for i, shown in enumerate(classes) if shown == "lit"] == list(PICTURES[name])
    title = svg.find(f"{SVG}title")
    assert title is not None and title.text is not None
    assert svg.attrib["role"] == "img" and svg.attrib["aria-labelledby"] == "title desc"
    assert ("Lit: " in title.text) == bool(PICTURES[name])
    assert all(network.ROLES[module][0].format(backbone="ResNet-50") in title.text for module in PICTURES[name])
    for colours in (LIGHT, DARK):
        assert contrast(colours["lit"], colours["box"]) > 3, "clear in grey"


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours, from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable_on_light_and_dark_pages(colours: dict[str, str]) -> None:
    for text, ground in (("text", "box"), ("text", "ground"), ("on", "lit")):
        assert contrast(colours[text], colours[ground]) >= 7, f"{text} on {ground}"
    assert contrast(colours["line"], colours["ground"]) >= 3


def test_text_fits_and_is_large_enough_on_a_phone() -> None:
    """A phone's column is about 350 pixels wide; DejaVu, which matplotlib measures with, is wider than most system fonts."""
    svg = ElementTree.fromstring(pictures()["network.svg"])
    sizes = {"name": network.FONT, "small": network.SMALL, "note": network.SMALL}
    for text in svg.iter(f"{SVG}text"):
        style = text.attrib["class"].split()[0]
        assert sizes[style] * 350 / network.WIDTH >= 11
        x, words = float(text.attrib["x"]), text.text or ""
        weight = {"family": "DejaVu Sans", "weight": "bold" if style == "name" else "normal"}
        width = TextPath((0, 0), words, size=sizes[style], prop=weight).get_extents().width
        in_box = x < network.MARGIN + network.BOX and style != "note"
        assert x + width <= (network.MARGIN + network.BOX - 4 if in_box else network.WIDTH - 4), words


def test_a_causal_network_has_the_same_picture() -> None:
    usual, causal = (
        output_shapes(load_config(ROOT / RECIPE, f"model.causal={causal}"), 174) for causal in ("false", "true")
    )
    assert causal == usual and "stu" in causal


def test_a_module_that_is_not_there_cannot_be_lit() -> None:
    cfg = load_config(ROOT / RECIPE, "model.mde.enabled=false")
    with pytest.raises(ValueError, match="lit: found mde; the network has clip, backbone, stu"):
        network_svg(cfg, 174, ["mde"])


def test_every_head_shows_its_picture() -> None:
    for chapter, picture in CHAPTERS.items():
        cells = (ROOT / "book" / f"{chapter}.py").read_text(encoding="utf-8").split("\n# %%")
        assert any(re.search(rf"!\[[^\]]{{20,}}\]\(figures/{picture}\.svg\)", cell) for cell in cells[:5]), chapter
    for text, link in (("README.md", "book/figures/network.svg"), ("book/index.md", "figures/network.svg")):
        assert re.search(rf"!\[[^\]]{{20,}}\]\({link}\)", (ROOT / text).read_text(encoding="utf-8")), text


@pytest.mark.slow
def test_the_command_writes_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network.main(["--out", str(tmp_path / "new")])
    assert {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "new").iterdir()} == pictures()
    assert len(capsys.readouterr().out.splitlines()) == len(PICTURES)
