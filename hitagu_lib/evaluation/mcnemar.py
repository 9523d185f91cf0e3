"""`hitagu report compare`: compare two evaluations of the same videos, video by video.

Only the videos that exactly one of the two gets right tell which is better. If neither were better, each such video would be as likely
to be the one's as the other's: McNemar's test (1947), here exact, by the binomial distribution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hitagu_lib.errors import ListError
from hitagu_lib.evaluation.metrics import LEVEL, RESAMPLES, interval, resample
from hitagu_lib.evaluation.results import Results, read_results


def compare_results(a: str | Path, b: str | Path, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Compare the top-1 of two result folders, or scores.npz files, over the videos that both scored; return plain values.

    "difference" is b's top-1 minus a's, with a bootstrap interval over videos; "p" is from McNemar's exact test, two-sided.
    Raises ConfigError if a file is not what `hitagu evaluate` writes, ListError if the two are not of the same list.
    """
    first, second = read_results(a), read_results(b)
    _must_be_of_one_list(first, second)
    _, in_first, in_second = np.intersect1d(first.scores.rows, second.scores.rows, return_indices=True)
    if not len(in_first):
        raise ListError(f"{first.file} and {second.file}: found no video that both scored; expected some to compare")
    right = np.stack([first.scores.right(1).numpy()[in_first], second.scores.right(1).numpy()[in_second]], axis=1)
    n = len(right)
    counts = {
        "both_right": int(right.all(1).sum()),
        "only_a_right": int((right[:, 0] & ~right[:, 1]).sum()),
        "only_b_right": int((~right[:, 0] & right[:, 1]).sum()),
        "both_wrong": int((~right).all(1).sum()),
    }
    kinds, drawn = resample(right, resamples, seed)
    return {
        "a": {"file": str(first.file), "top1": float(right[:, 0].mean()), "not_in_b": len(first.paths) - n},
        "b": {"file": str(second.file), "top1": float(right[:, 1].mean()), "not_in_a": len(second.paths) - n},
        "videos": n,
        **counts,
        "difference": float((counts["only_b_right"] - counts["only_a_right"]) / n),
        "interval": interval(drawn @ (kinds[:, 1] - kinds[:, 0]) / n),
        "bootstrap": {"of": "videos", "resamples": resamples, "level": LEVEL, "seed": seed},
        "p": mcnemar(counts["only_a_right"], counts["only_b_right"]),
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of McNemar's exact test from the numbers of videos that only a, and only b, gets right.

    It is twice the probability that as many tosses of a fair coin split at least this unevenly to the same side; at most 1.
    """
    n, k = only_a + only_b, min(only_a, only_b)
    term = tail = 1  # (n choose 0), and the sum so far: integers, so nothing is rounded
    for i in range(k):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def comparison_text(found: dict[str, Any]) -> str:
    """Format the comparison as plain text."""
    a, b, (low, high) = found["a"], found["b"], found["interval"]
    return "\n".join(
        [
            f"A  {a['top1']:6.1%}  {a['file']}",
            f"B  {b['top1']:6.1%}  {b['file']}",
            f"top-1 on the {found['videos']} videos that both scored"
            + (f"; {a['not_in_b']} only A scored" if a["not_in_b"] else "")
            + (f"; {b['not_in_a']} only B scored" if b["not_in_a"] else ""),
            "",
            f"{'':10}{'B right':>10}{'B wrong':>10}",
            f"{'A right':10}{found['both_right']:10}{found['only_a_right']:10}",
            f"{'A wrong':10}{found['only_b_right']:10}{found['both_wrong']:10}",
            "",
            f"B - A: {100 * found['difference']:+.1f} points, {LEVEL:.0%} interval {100 * low:+.1f} to {100 * high:+.1f} "
            f"(bootstrap over videos, {found['bootstrap']['resamples']} draws)",
            f"McNemar's exact test: p = {found['p']:.3g}, from the {found['only_a_right'] + found['only_b_right']} videos "
            "that only one has right",
        ]
    )


def _must_be_of_one_list(a: Results, b: Results) -> None:
    def refuse(what: str, of_a: object, of_b: object) -> None:
        raise ListError(f"{b.file}: found {what} {of_b}; expected {of_a} as in {a.file}: they are not of the same list")

    if len(a.classes) != len(b.classes):
        refuse("classes:", len(a.classes), len(b.classes))
    for i, (ours, theirs) in enumerate(zip(a.classes, b.classes, strict=True)):
        if ours != theirs:
            refuse(f"class {i}", repr(ours), repr(theirs))
    if a.listed != b.listed:
        refuse("videos in the list:", a.listed, b.listed)
    in_b = {row: (path, label) for row, path, label in _videos(b)}
    for row, path, label in _videos(a):
        path_b, label_b = in_b.get(row, (path, label))
        if path != path_b:
            refuse(f"video {row}", repr(path), repr(path_b))
        if label != label_b:
            refuse(f"{path!r} labelled", repr(a.classes[label]), repr(b.classes[label_b]))


def _videos(results: Results) -> list[tuple[int, str, int]]:
    """Return the row, path and label of each video."""
    return list(zip(results.scores.rows.tolist(), results.paths, results.scores.labels.tolist(), strict=True))
