"""What do you know after half of the clip? Causal networks and their peers, by the share of the clip that they have seen.

    python -m experiments.streaming --params params/mini.yaml --out outputs/published/streaming/mini
    python -m experiments.streaming --params params/memory.yaml --out outputs/published/streaming/memory
    python -m experiments.streaming --params params/own.yaml --real lips_words --out outputs/published/streaming/lips_words

Methods share recipe and training time, as in experiments/compare.py. A causal network gives its logits after every frame; the network that
is not causal is run anew on the frames so far. The causal TSA in the place of the 3STU keeps as many bytes as the causal HiTAGU-Net's
stream, or a little more; on clips shorter than its window it sees all frames so far. Published runs are kept and stopped ones resume, so
the same command can be repeated at any time.

Writes <out>/<method>-seed<seed>/ with shares.json (frames seen -> validation top-1, percent), and <out>/shares.md. On the memory set, runs
are also tested at the end of clips that wait longer than those in training, as in experiments/memory.py. With --real, each fold of a set of
real video, which experiments/real.py has prepared, has a folder of its own in <out>.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from experiments.compare import arguments, run_grid
from experiments.memory import ENDS, publish_waits, read_waits
from experiments.real import SETS, TSM_RATES, lists, recipe
from hitagu_lib.config import Config, load_config, resolve
from hitagu_lib.data.dataset import ClipDataset
from hitagu_lib.data.frames import normalise
from hitagu_lib.data.loader import make_loader
from hitagu_lib.data.source import open_lists
from hitagu_lib.evaluation.seeds import folder_name, interval, spread, table_lines
from hitagu_lib.files import write_atomic, write_json
from hitagu_lib.inference.predict import load_model
from hitagu_lib.inference.streaming import empty_state
from hitagu_lib.models import ClipModel, build_model
from hitagu_lib.prepare.synthetic.memory import WAITS

METHODS = {
    "causal": "model.causal=true",
    "causal with prefix loss": "model.causal=true train.prefix_loss=0.5",
    "not causal": "",
    "online TSM": "model.causal=true model.temporal=tsm",
    "causal TSA": "model.causal=true model.stu.enabled=false model.attention.tsa_window={window}",
    "TSN": "model.causal=true model.temporal=tsn",
}
"""Method -> its overrides of the recipe. All methods train for as long as the first."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__, METHODS)
    parser.add_argument("--real", choices=SETS, help="a set of real video in place of the recipe's")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(5), default=[0, 1, 2, 3], help="of the real set")
    args = parser.parse_args(argv)
    overrides, out = f"{args.overrides} eval.order_tests=false", args.out
    if args.real:
        overrides = f"{recipe(args.real)} {overrides}"
    window = matched_window(load_config(args.params, f"{overrides} model.causal=true"))
    methods = {method: changes.format(window=window) for method, changes in METHODS.items()}
    if args.real:
        methods["online TSM"] += f" {TSM_RATES}"
    torch.set_num_threads(1)

    def publish_shares(cfg: Config, published: Path) -> None:
        write_json(published / "shares.json", top1_by_frames(cfg))
        if cfg.data.prepare == "memory":
            publish_waits(cfg, published)

    grids = [(out, overrides, "streaming")]
    if args.real:
        grids = [
            (out / f"fold{fold}", f"{overrides} {lists(args.real, fold)}", f"streaming/{args.real}-fold{fold}")
            for fold in args.folds
        ]
    for args.out, args.overrides, runs in grids:
        run_grid(args, methods, lambda _: write_table(out), publish_shares, runs, out / "epochs.json")
    print((out / "shares.md").read_text(encoding="utf-8"))


def stream_bytes(cfg: Config) -> int:
    """Return the size of one stream's state for the network of `cfg`."""
    model = build_model(cfg.model, 2, pretrained=False).eval()
    state = empty_state(model, (1, 3, cfg.data.image_size, cfg.data.image_size))
    return sum(part.nbytes for part in state.values())


def matched_window(cfg: Config) -> int:
    """Return the window with which a causal network without 3STU keeps at least as many bytes as the network of `cfg`."""
    without = [f"model.stu.enabled=false model.attention.tsa_window={window}" for window in (1, 2)]
    base, more = (stream_bytes(resolve(cfg.to_mapping(), overrides)) for overrides in without)
    return 1 + math.ceil((stream_bytes(cfg) - base) / (more - base))


@torch.inference_mode()
def top1_by_frames(cfg: Config) -> dict[str, float]:
    """Return the validation top-1 in percent of a finished run, by the number of frames seen."""
    model, _, _ = load_model(Path(cfg.run, "checkpoints", "last.pt"))
    _, clips = open_lists(cfg.data)
    correct, seen = torch.zeros(cfg.data.num_frames), 0
    for batch in make_loader(ClipDataset(clips, cfg.data, train=False), cfg.eval.batch_size, shuffle=False):
        x, t = normalise(batch["frames"]), batch["t"]
        correct += (every_prefix(model, x, t).argmax(2) == batch["label"][:, None]).sum(0)
        seen += len(x)
    return {str(n + 1): round(100 * float(hits) / seen, 2) for n, hits in enumerate(correct)}


def every_prefix(model: ClipModel, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return logits (B, T, K) after every frame; a network that is not causal is run anew on each prefix."""
    if model.causal:
        return torch.as_tensor(model(x, t, every_prefix=True))
    return torch.stack([torch.as_tensor(model(x[:, :n], t[:, :n])) for n in range(1, x.shape[1] + 1)], dim=1)


def shares_by_run(out: Path) -> dict[str, dict[str, dict[float, float]]]:
    """Return what the finished runs under `out` reached: method -> fold and seed -> share of the clip seen, percent -> top-1, percent."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    for method in METHODS:
        for file in sorted(out.rglob(f"{folder_name(method, '*')}/shares.json")):
            top1 = json.loads(file.read_text(encoding="utf-8"))
            seed = file.parent.name.removeprefix(folder_name(method, ""))
            run = f"{file.parent.parent.relative_to(out)} {seed}"
            found.setdefault(method, {})[run] = {100 * int(n) / len(top1): value for n, value in top1.items()}
    return found


def read_shares(out: Path) -> dict[str, dict[float, list[float]]]:
    """Return what the finished runs under `out` reached: method -> share of the clip seen, percent -> top-1 of each run, percent."""
    return {
        method: {share: [run[share] for run in runs.values()] for share in next(iter(runs.values()))}
        for method, runs in shares_by_run(out).items()
    }


def causal_minus(out: Path, share: float) -> dict[str, list[float]]:
    """Return other method -> points by which the causal network is ahead at a share of the clip, in each pair of runs.

    A pair is a seed that both have; of a set with folds it is a fold, the mean over its seeds, as seeds of one fold share their clips.
    """
    found = shares_by_run(out)
    ours = found.pop("causal", {})
    pairs: dict[str, list[float]] = {}
    for peer, runs in found.items():
        points: dict[str, list[float]] = {}
        for run in ours.keys() & runs.keys():
            fold, _, _ = run.rpartition(" ")
            points.setdefault(run if fold == "." else fold, []).append(ours[run][share] - runs[run][share])
        pairs[peer] = [statistics.mean(points[pair]) for pair in sorted(points)]
    return pairs


def write_table(out: Path) -> None:
    """Write <out>/shares.md: one row per method, mean and standard deviation over runs, a column for each eighth of the clip.

    A clip of eight frames or fewer has a column for each of its frames.
    A second table has the differences between the causal network and each other, paired by seed, or by fold. Where runs were tested after
    longer waits, a third follows with a column per wait, and per task for two waits.
    """
    found = read_shares(out)
    shares = sorted(next(iter(found.values())))
    columns = shares[:: -math.ceil(len(shares) / 8)][::-1]  # from the end, so that the whole clip is one
    rows = [
        {"method": method, "runs": str(len(top1[100.0]))} | {f"{share:.0f} %": spread(top1[share]) for share in columns}
        for method, top1 in found.items()
    ]
    title = "Validation top-1 (%) by the share of the clip seen, mean ± standard deviation over runs (seeds and folds):"
    lines = [title, "", *table_lines(pd.DataFrame(rows)), *differences_lines(out), *waits_lines(out)]
    write_atomic(out / "shares.md", [f"{line}\n" for line in lines])


def differences_lines(out: Path) -> list[str]:
    """Return the lines of the table of paired differences, none without pairs."""
    shares = {share for of in read_shares(out).values() for share in of}
    share = max((share for share in shares if share <= 50), default=100.0)  # an odd number of frames has no half
    half, end = causal_minus(out, share), causal_minus(out, 100.0)
    rows = [
        {
            "causal minus": peer,
            "pairs": str(len(points)),
            f"after {share:.0f} %": interval(half[peer]),
            "at the end": interval(points),
        }
        for peer, points in end.items()
        if points
    ]
    title = "Points by which the causal network is ahead, mean (95 % interval by Student's t, from three pairs on):"
    return ["", title, "", *table_lines(pd.DataFrame(rows))] if rows else []


def waits_lines(out: Path) -> list[str]:
    """Return the lines of the table of waits, none if no run was tested after longer ones."""
    by_method: dict[str, list[Mapping[str, Mapping[str, float]]]] = defaultdict(list)
    for (method, _), reached in read_waits(out, METHODS).items():
        by_method[method].append(reached)
    columns = {f"all, x {wait}": (name, "all") for name, wait in WAITS.items() if name != "train"}
    columns |= {f"{task}, {end}": (name, task) for task in ("Lighting", "Hiding") for end, name in ENDS.items()}
    rows = [
        {"method": method, "runs": str(len(runs))}
        | {title: spread([run[name][task] for run in runs]) for title, (name, task) in columns.items()}
        for method, runs in by_method.items()
    ]
    title = "Top-1 (%) at the end of clips that wait 1, 2, 4 and 8 times as long as those in training, all and by task:"
    return ["", title, "", *table_lines(pd.DataFrame(rows))] if rows else []


if __name__ == "__main__":
    main()
