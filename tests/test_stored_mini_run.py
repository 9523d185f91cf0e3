"""README and the chapters say of their stored runs what these reached."""

import json
import re
from pathlib import Path

from prose import prose, stored_rows

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_has_the_numbers_of_the_published_run() -> None:
    run = json.loads((ROOT / "outputs/published/mini/summary.json").read_text(encoding="utf-8"))
    minutes, tsn_minutes = run["train_seconds"] / 60, run["tsn_train_seconds"] / 60
    for row in (
        f"| top-1 | {run['val_top1']:.1%} | {run['tsn_val_top1']:.1%} |",
        f"| top-1, each clip's frames in random order | {run['val_top1_shuffled']:.1%} | |",
        f"| clips played backwards that are called the partner class | {run['val_partner_rate_reversed']:.1%} | |",
        f"| minutes of training, two CPU cores | {minutes:.1f} | {tsn_minutes:.1f} |",
    ):
        assert row.replace("%", " %") in README


def test_readme_has_the_range_of_the_comparison_s_seeds() -> None:
    def span(method: str, key: str) -> str:
        runs = (ROOT / "outputs/published/mini-compare").glob(f"{method}-seed*/summary.json")
        found = sorted(100 * json.loads(run.read_text(encoding="utf-8"))[key] for run in runs)
        assert len(found) == 3
        return f"{found[0]:.1f} to {found[-1]:.1f} %"

    ours = [span("hitagu-net", key) for key in ("val_top1", "val_top1_shuffled", "val_partner_rate_reversed")]
    assert (
        f"Three runs on one thread, seeds 0 to 2, gave {ours[0]}, {ours[1]} with shuffled frames, and {ours[2]} backwards; TSN, trained "
        f"for the same time, gave {span('tsn', 'val_top1')}."
    ) in README


def read_chapter(name: str) -> tuple[str, str]:
    """The text of a notebook, and what its stored run printed."""
    cells = json.loads((ROOT / f"book/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text, "".join("".join(out.get("text", [])) for cell in cells for out in cell.get("outputs", []))


def test_chapter_3_shows_the_published_run() -> None:
    run = json.loads((ROOT / "outputs/published/mini/summary.json").read_text(encoding="utf-8"))
    text, printed = read_chapter("03_train")
    (top1,) = re.findall(r"^ +val_top1: (\S+)$", printed, re.M)
    assert float(top1) == run["val_top1"]
    assert f"{100 * float(top1):.1f} % of the validation clips (one seed, stored below" in text


def test_chapter_7_says_how_many_clips_are_right() -> None:
    text, printed = read_chapter("07_your_own_videos")
    (right, clips, low), shuffled = (
        re.search(pattern, printed).groups()
        for pattern in (r"(\d+) of (\d+) validation clips right.*\n95 % interval: (\d+)%", r"frames shuffled: (\d+)%")
    )
    assert f"In the stored run {right} of {clips} clips are right." in text
    assert f"in random order {round(int(shuffled[0]) * int(clips) / 100)} of {clips} are" in text
    assert f"The interval begins at {low} %" in text


def test_chapter_7_says_what_its_exercises_reached() -> None:
    runs = ROOT / "outputs" / "published" / "chapter7"

    def right(run: str, key: str = "val_top1") -> int:
        summary = json.loads((runs / run / "summary.json").read_text(encoding="utf-8"))
        assert summary["val_clips"] == 32
        return round(32 * summary[key])

    said = prose("book/07_your_own_videos.py")
    shuffled = right("one-way", "val_top1_shuffled")
    assert f"got {right('one-way')} of 32 instead of all 32, and {shuffled} with shuffled frames" in said
    assert right("leak") == right("init") == 32
    assert f"With a learning rate of 0.0005, {right('init-lr5e-4')} of 32 were right after four epochs" in said


def test_chapter_2e_says_what_its_tables_show() -> None:
    # Of rows that begin alike, the first.
    rows = {first: others for first, *others in reversed(stored_rows("02e_head_and_losses"))}
    said = prose("book/02e_head_and_losses.py")
    assert f"from {rows['0'][0]} to {rows['0.05'][0]} %" in said
    without, weak, _ = (float(cell) for cell in rows["wrong pairs (%)"])
    within, between, ratio = (
        [float(cell) for cell in rows[name]] for name in ("within", "between", "within / between")
    )
    assert round(within[0] / within[1]) == 5 and round(between[0] / between[1]) == 4 and round(without / weak) == 6
    assert "within classes falls to a fifth" in said and "between classes fall to a quarter" in said
    assert "the ratio falls by a sixth" in said and round(1 / (1 - ratio[1] / ratio[0])) in (6, 7)
