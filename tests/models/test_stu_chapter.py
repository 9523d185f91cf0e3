"""The numbers of chapter 2c are those of the published files."""

import json
import statistics
from pathlib import Path

from prose import NUMBERS, prose

from experiments.memory import read_waits
from hitagu_lib.evaluation.seeds import interval

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

    def ahead_of(method: str, task: str) -> list[str]:
        """Our lead after four times the wait, and its interval, over the seeds that both have."""
        pairs = [
            lists["val_wait4"][task] - runs[method, seed]["val_wait4"][task]
            for (one, seed), lists in runs.items()
            if one == ours and (method, seed) in runs
        ]
        return interval(pairs).replace("+", "", 1).rstrip(")").split(" (")

    ours, without, gru, counts = "HiTAGU-Net", "without 3STU", "GRU per position", "without elapsed time"
    text, results = prose("book/02c_3stu.py"), prose("book/appendix/results.md")
    reached = [f"{statistics.mean(each(ours, name)):.1f}" for name in ("val", "val_wait2", "val_wait4", "val_wait8")]
    less = [f"{statistics.mean(each(without, name)):.1f} %" for name in ("val", "val_wait4")]
    seeds = NUMBERS[len(each(ours, "val"))]
    assert (
        f"HiTAGU-Net is right on {reached[0]} % of the clips at the wait of training and on {reached[1]} %, {reached[2]} % and "
        f"{reached[3]} % at 2, 4 and 8 times that; without 3STU on {less[0]} at the wait of training and {less[1]} at four times it "
        f"({seeds} seeds each)."
    ) in text
    tsm, pooled = (
        f"{mean(method, 3)} and {statistics.mean(each(method, 'val_wait4')):.1f} %" for method in ("TSM", "GRU")
    )
    assert (
        f"TSM, whose shifts reach over all eight frames of a training clip, is right on {tsm}, a GRU behind the mean over positions on "
        f"{pooled} (three seeds each)."
    ) in text
    older = [each("3STU as it was", name) for name in ("val", "val_wait2", "val_wait4", "val_wait8")]
    learned, guessing = ([seed for seed in zip(*older, strict=True) if (seed[0] > 90) == yes] for yes in (True, False))
    of = f"{NUMBERS[len(learned)]} of {NUMBERS[len(older[0])]} seeds"
    assert f"The unit's older form (below) learned it under {of}." in text
    low, high = (how(seed[0] for seed in guessing) for how in (min, max))
    assert (
        f"Of {of.split(' ')[2]} seeds {of.split(' ')[0]} learned *Lighting* all the same, and held it to eight times the wait;"
        in text
    )
    assert min(map(min, learned)) > 98 and f"the others are right on {low:.0f} to {high:.0f} %." in text
    seconds = {
        name: statistics.mean(
            json.loads(file.read_text())["train_cpu_seconds"]
            for file in (ROOT / "outputs/published/memory").glob(f"{name}-seed[012]/summary.json")  # run side by side
        )
        for name in ("hitagu-net", "without-3stu", "gru-per-position")
    }
    assert max(seconds.values()) < 1.1 * min(seconds.values()), "every network trains for the same time"
    assert f"its eight seeds are at {mean(gru, 8)} at the wait of training" in text
    twice, four = (
        f"at {min(of):.0f} to {max(of):.0f} %, {statistics.mean(of):.1f} % on average"
        for of in (each(gru, name) for name in ("val_wait2", "val_wait4"))
    )
    ahead, range_ahead = ahead_of(gru, "Lighting")
    everywhere, range_everywhere = ahead_of(gru, "all")
    assert (
        f"at twice the wait they are {twice}, and at four times {four}, where HiTAGU-Net is ahead by {ahead} points ({range_ahead}) here "
        f"and by {everywhere} ({range_everywhere}) over all tasks."
    ) in text
    assert f"(eight seeds, HiTAGU-Net ahead by {ahead} points, {range_ahead};" in results
    *up_to_four, eight = (each(counts, name) for name in ("val", "val_wait2", "val_wait4", "val_wait8"))
    assert (
        "with gates that count frames, three seeds are right on 100 % up to four times the wait, and at eight times on "
        f"{spoken(eight)}."
    ) in text
    assert (
        len(eight) == 3 and min(map(min, up_to_four)) == 100 and f"three seeds are right on {spoken(eight)}." in results
    )
    plain = read_waits(ROOT / "outputs/published/memory-no-stretch")
    forgot = spoken([plain[ours, seed]["val_wait2"]["Lighting"] for seed in (0, 1)])
    assert f"one of two seeds of HiTAGU-Net forgot as well: {forgot} at twice the wait" in text
    others = [f"{statistics.mean(each(without, 'val', task)):.1f} %" for task in ("Showing", "Hiding")]
    assert f"do not need the unit: without it, {others[0]} and {others[1]} are right" in text
    half = read_waits(ROOT / "outputs/published/memory-9-epochs")

    def failed(method: str, of: dict) -> str:
        return NUMBERS[sum(lists["val"]["Hiding"] < 90 for (one, _), lists in of.items() if one == method)]

    assert (
        f"{failed(ours, runs)} of {seeds} had not learned it with the unit, and {failed(without, runs)} without. With half as many epochs, "
        f"{failed(ours, half)} of seven had not learned it with the unit, and {failed(without, half)} without"
    ) in text
