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
    assert "At 8, 16 and 64 frames it takes 1.67, 1.85 and 1.83 times as long as one `nn.GRU` of its width" in text
    assert "it takes 0.58 to 0.61 of the time" in text and "it takes 1.17 to 1.27 times as long" in text


def test_what_the_unit_is_worth_on_the_memory_set() -> None:
    runs = read_waits(ROOT / "outputs/published/memory")

    def each(method: str, name: str, task: str = "Lighting") -> list[float]:
        return [lists[name][task] for (one, _), lists in runs.items() if one == method]

    def mean(method: str, seeds: int) -> str:
        found = each(method, "val")
        assert len(found) == seeds, f"{method}: {len(found)} seeds are published; the chapter says {seeds}"
        return f"{statistics.mean(found):.1f} %"

    def spoken(values: list[float]) -> str:
        *first, last = (f"{value:.0f}" for value in values)
        return f"{', '.join(first)} and {last} %"

    ours, without = "HiTAGU-Net", "without 3STU"
    text = prose("book/02c_3stu.py")
    assert f"HiTAGU-Net is right on {mean(ours, 3)} of the clips at the training's wait" in text
    assert f"without 3STU on {mean(without, 3)} (three seeds each)" in text
    assert f"older form (below) on {mean('3STU as it was', 1)} and TSM on {mean('TSM', 1)} (one seed each)" in text
    assert (
        f"with 3STU reach {spoken(each(ours, 'val_wait4'))}, and those without it {spoken(each(without, 'val_wait4'))}"
        in text
    )
    (later,) = each("GRU per position", "val_wait4")
    assert (
        f"with {mean('GRU per position', 1)} at the training's wait; at four times that it is at {later:.1f} %" in text
    )
    hiding = [spoken(each(method, "val", "Hiding")) for method in (ours, without)]
    assert f"{hiding[0]} with 3STU, {hiding[1]} without" in text
