"""The numbers of chapter 2c are those of the published files."""

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def chapter() -> str:
    return " ".join((ROOT / "book/02c_3stu.py").read_text(encoding="utf-8").replace("\n# ", " ").split())


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
    text = chapter()
    assert "It takes 1.67, 1.85 and 1.83 times as long as one `nn.GRU` of its width at 8, 16 and 64 frames" in text
    assert "it takes 0.58 to 0.61 of the time" in text and "it takes 1.17 to 1.27 times as long" in text
