"""The numbers of chapter 2c are those of the published files."""

import json
import statistics
from pathlib import Path

from prose import prose

from experiments.memory import read_waits

ROOT = Path(__file__).resolve().parents[2]


def test_what_the_unit_costs_beside_a_gru() -> None:
    timed = json.loads((ROOT / "outputs/published/stu/cpu/fp32-clips1-side7-width256.json").read_text())["milliseconds"]

    def ratios(one: str, other: str) -> list[float]:
        """The median of the rounds' ratios at each T, of processor times."""
        pairs = [(by_name[one]["CPU"], by_name[other]["CPU"]) for by_name in timed.values()]
        return [round(statistics.median(a / b for a, b in zip(*pair, strict=True)), 2) for pair in pairs]

    assert ratios("3STU memory, loop", "nn.GRU, D to D") == [1.67, 1.85, 1.83]
    deep, whole = (
        ratios("3STU memory, loop", "nn.GRU, 3 layers of D"),
        ratios("3STU, whole, auto", "W_in, BN, nn.GRU, W_o"),
    )
    assert (min(deep), max(deep), min(whole), max(whole)) == (0.58, 0.61, 1.17, 1.27)
    for by_name in timed.values():
        loop, *others = (
            statistics.median(by_name[f"3STU memory, {form}"]["CPU"]) for form in ("loop", "scan", "closed")
        )
        assert loop < min(others)
    text = prose("book/02c_3stu.py")
    assert "It takes 1.67, 1.85 and 1.83 times as long as one `nn.GRU` of its width at 8, 16 and 64 frames" in text
    assert "it takes 0.58 to 0.61 of the time" in text and "it takes 1.17 to 1.27 times as long" in text


def test_what_the_unit_is_worth_on_the_memory_set() -> None:
    runs = read_waits(ROOT / "outputs/published/memory")

    def mean(method: str, seeds: int) -> tuple[str, str]:
        """Top-1 at the training's wait and at four times it."""
        found = [lists for (one, _), lists in runs.items() if one == method]
        assert len(found) == seeds, f"{method}: {len(found)} seeds are published; the chapter says {seeds}"
        at, later = (statistics.mean(lists[name]["all"] for lists in found) for name in ("val", "val_wait4"))
        return f"{at:.1f}", f"{later:.1f}"

    ours, without, before = mean("HiTAGU-Net", 2), mean("without 3STU", 1), mean("3STU as it was", 1)
    tsm, gru = mean("TSM", 1), mean("GRU per position", 1)
    text = prose("book/02c_3stu.py")
    assert f"reaches {ours[0]} % at the training's wait and {ours[1]} % at four times that (two seeds)" in text
    assert (
        f"Without 3STU it is {without[0]} and {without[1]} %, with the unit's older form (below) {before[0]} and"
        in text
    )
    assert f"{before[1]} %, with TSM {tsm[0]} and {tsm[1]} % (one seed each)" in text
    twice = runs["GRU per position", 0]["val_wait2"]["all"]
    assert f"with {gru[0]} % at the training's wait. It does not hold it: {twice:.1f} % at twice and {gru[1]} %" in text
