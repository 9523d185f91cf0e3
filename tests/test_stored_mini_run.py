"""README and chapter 3 say of the published mini run what it reached."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_has_the_numbers_of_the_published_run() -> None:
    run = json.loads((ROOT / "outputs/published/mini/summary.json").read_text(encoding="utf-8"))
    minutes, tsn_minutes = run["train_seconds"] / 60, run["tsn_train_seconds"] / 60
    for row in (
        f"| top-1 | {run['val_top1']:.1%} | {run['tsn_val_top1']:.1%} |",
        f"| top-1, each clip's frames in random order | {run['val_top1_shuffled']:.1%} | |",
        f"| clips played backwards that are called the reversed class | {run['val_partner_rate_reversed']:.1%} | |",
        f"| minutes of training, two CPU cores | {minutes:.1f} | {tsn_minutes:.1f} |",
    ):
        assert row.replace("%", " %") in README


def test_chapter_3_shows_the_published_run() -> None:
    run = json.loads((ROOT / "outputs/published/mini/summary.json").read_text(encoding="utf-8"))
    cells = json.loads((ROOT / "book/03_train.ipynb").read_text(encoding="utf-8"))["cells"]
    printed = "".join("".join(out.get("text", [])) for cell in cells for out in cell.get("outputs", []))
    (top1,) = re.findall(r"^ +val_top1: (\S+)$", printed, re.M)
    assert float(top1) == run["val_top1"]
    assert f"{100 * float(top1):.1f} % of the validation clips (one seed, stored below" in "".join(cells[0]["source"])
