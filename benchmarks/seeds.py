"""Train one recipe under several seeds and publish the small result files.

    python benchmarks/seeds.py --params params/mini.yaml --seeds 0 1 2 --out outputs/published/mini

The params file's own seed is run in its own folder, such as outputs/mini, the others beside it, such as outputs/mini-seed1; each as
`hitagu train` does it, baseline and order tests included. A finished run is not repeated, one that was stopped goes on. Of each,
params.yaml, provenance.json, metrics.jsonl and summary.json are copied to <out>/seed<seed>/, and a table of all goes to <out>/seeds.md.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

from hitagu_lib.config import load_config
from hitagu_lib.files import write_atomic
from hitagu_lib.train import train

SMALL = ("params.yaml", "provenance.json", "metrics.jsonl", "summary.json")
COLUMNS = ("val_top1", "val_top1_shuffled", "val_partner_rate_reversed", "tsn_val_top1")
TIMES = ("train_seconds", "tsn_train_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params/mini.yaml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("outputs/published/mini"))
    args = parser.parse_args()
    recipe, summaries = load_config(args.params), {}
    for seed in args.seeds:
        run = Path(recipe.run if seed == recipe.train.seed else f"{recipe.run}-seed{seed}")
        summaries[seed] = train(load_config(args.params, f"run={run} train.seed={seed}"), progress=True)
        published = args.out / f"seed{seed}"
        published.mkdir(parents=True, exist_ok=True)
        for name in SMALL:
            shutil.copyfile(run / name, published / name)
    lines = table(summaries)
    write_atomic(args.out / "seeds.md", [f"{line}\n" for line in lines])
    print("\n".join(lines))


def table(summaries: dict[int, dict[str, Any]]) -> list[str]:
    """Markdown rows: a seed each, then mean and standard deviation over seeds."""
    lines = [f"| seed | {' | '.join(COLUMNS + TIMES)} |", "|---" * (1 + len(COLUMNS + TIMES)) + "|"]
    for seed, summary in summaries.items():
        cells = [f"{summary[key]:.1%}" for key in COLUMNS] + [f"{summary[key]:.0f}" for key in TIMES]
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    if len(summaries) > 1:
        cells = [_spread([100 * s[key] for s in summaries.values()], " %") for key in COLUMNS]
        cells += [_spread([s[key] for s in summaries.values()], "") for key in TIMES]
        lines.append(f"| mean ± sd | {' | '.join(cells)} |")
    return lines


def _spread(values: list[float], unit: str) -> str:
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}{unit}"


if __name__ == "__main__":
    main()
