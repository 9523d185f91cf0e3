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
    twice = [f"{statistics.mean(each(method, 'val_wait2')):.1f} %" for method in (ours, without)]
    assert (
        f"HiTAGU-Net is right on {mean(ours, 7)} of the clips at the wait of training and on {twice[0]} at twice that, without 3STU on "
        f"{mean(without, 7)} and {twice[1]} (seven seeds each)."
    ) in text
    assert f"older form (below) is right on {mean('3STU as it was', 1)} and TSM" in text
    assert f"all eight frames, on {mean('TSM', 1)} (one seed each)" in text
    seconds = {
        method: [
            json.loads((ROOT / f"outputs/published/memory/{name}-seed{seed}/summary.json").read_text())[
                "train_cpu_seconds"
            ]
            for seed in range(2, 7)  # made on one machine
        ]
        for method, name in ((ours, "hitagu-net"), (without, "without-3stu"))
    }
    longer = statistics.mean(seconds[without]) / statistics.mean(seconds[ours]) - 1
    assert f"(without 3STU it took {100 * longer:.0f} % longer)" in text
    later = each(ours, "val_wait4")
    first, second = (f"{value:.0f}" for value in later if value < 99.9)
    assert f"five of the seven seeds with 3STU are still at 100 %, the others at {first} and {second} %" in text
    assert f"without it the mean is {statistics.mean(each(without, 'val_wait4')):.1f} %" in text
    gru = "GRU per position"
    assert f"its three seeds are at {mean(gru, 3)} at the wait of training" in text
    assert f"At twice the wait they are at {spoken(each(gru, 'val_wait2'))}" in text
    assert min(each(gru, "val_wait2")) == 0 and min(each(gru, "val", "Hiding")) == 100
    hiding = [spoken(each(method, "val", "Hiding")) for method in (ours, without)]
    assert f"{hiding[0]} with 3STU, {hiding[1]} without" in text
