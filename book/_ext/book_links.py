"""What Sphinx adds to the pages of this book; JupyterLab shows the notebooks without it.

"(2c.11)" in a text becomes a link to that equation, "chapter 2c" one to that chapter, and a chapter's figures get a number and, as caption,
the first sentence of their alt text. An equation that does not exist is a warning, and so fails the build.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

TAG = re.compile(r"\\tag\{([\w.]+)\}")
# An equation of a chapter with a letter is known anywhere; (4.3) only in brackets, as 4.3 alone may be any number.
MENTION = re.compile(
    r"\b(?P<equation>\d[a-e]\.\d+)\b|(?<=\()(?P<bracketed>\d+\.\d+)(?=\))|\b[Cc]hapter (?P<chapter>\d+[a-e]?)\b"
)
CHAPTER = re.compile(r"book/0?(\d+[a-e]?)_")
NO_LINKS = (
    nodes.reference,
    nodes.title,
    nodes.caption,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.comment,
    nodes.raw,
)


class Anchors(SphinxTransform):
    """Give each numbered equation an anchor and each figure its number."""

    default_priority = 800

    def apply(self, **kwargs: Any) -> None:
        docname = self.env.docname
        for block in self.document.findall(nodes.math_block):
            for tag in TAG.findall(block.astext()):
                block["ids"].append(f"equation-{tag.replace('.', '-')}")
                _equations(self.env)[tag] = docname, block["ids"][-1]
        chapter = CHAPTER.match(docname)
        if chapter is None:
            return
        drawn = filter(_is_output, list(self.document.findall(nodes.image)))
        for number, image in enumerate(drawn, start=1):
            caption = re.split(r"(?<=[.?!])\s", image["alt"])[0]
            figure = nodes.figure("", ids=[f"figure-{chapter[1]}-{number}"])
            image.replace_self(figure)
            label = nodes.strong("", f"Figure {chapter[1]}.{number}. ")
            figure += [
                image,
                nodes.caption("", "", label, nodes.Text(caption)),
            ]


class Mentions(SphinxPostTransform):
    """Link what the text names."""

    default_priority = 400

    def run(self, **kwargs: Any) -> None:
        chapters = {
            found[1]: name
            for name in self.env.found_docs
            if (found := CHAPTER.match(name))
        }
        for text in list(self.document.findall(nodes.Text)):
            if not _within(text, NO_LINKS) and MENTION.search(text):
                text.parent.replace(
                    text, list(self._linked(str(text), chapters))
                )

    def _linked(
        self, text: str, chapters: dict[str, str]
    ) -> list[nodes.Node]:
        here, end, parts = self.env.docname, 0, []
        for mention in MENTION.finditer(text):
            equation = mention["equation"] or mention["bracketed"]
            if equation:
                known = _equations(self.env)
                docname, anchor = known.get(equation, (None, None))
            else:  # "chapter 2" is the first of its parts
                name = mention["chapter"]
                docname = chapters.get(name) or chapters.get(f"{name}a")
                anchor = None
            if docname is None and mention["bracketed"] is None:
                logging.getLogger(__name__).warning(
                    "no such equation or chapter: %s",
                    mention[0],
                    location=here,
                )
            if docname is None or (docname == here and anchor is None):
                continue
            parts.append(nodes.Text(text[end : mention.start()]))
            parts.append(
                make_refnode(
                    self.app.builder,
                    here,
                    docname,
                    anchor,
                    nodes.Text(mention[0]),
                )
            )
            end = mention.end()
        return [*parts, nodes.Text(text[end:])]


def _is_output(image: nodes.image) -> bool:
    """Whether a cell drew it, with an alt text."""
    return bool(image.get("alt")) and any(
        "cell_output" in node.get("classes", ()) for node in _above(image)
    )


def _above(node: nodes.Node) -> list[nodes.Element]:
    found = []
    while (node := node.parent) is not None:
        found.append(node)
    return found


def _within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    return any(isinstance(above, kinds) for above in _above(node))


def _equations(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """Tag -> (page, anchor), kept with what Sphinx keeps between builds."""
    if not hasattr(env, "book_equations"):
        env.book_equations = {}
    return env.book_equations


def _forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    for tag in [
        tag for tag, (page, _) in _equations(env).items() if page == docname
    ]:
        del _equations(env)[tag]


def _no_second_number(app: Sphinx, config: Config) -> None:
    """Sphinx would count the figures through all chapters; Jupyter Book switches that on late."""
    config.numfig = False


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(Anchors)
    app.add_post_transform(Mentions)
    app.connect("env-purge-doc", _forget)
    app.connect("config-inited", _no_second_number, priority=900)
    return {"version": "1", "env_version": 1, "parallel_read_safe": False}
