"""The command line: `hitagu prepare | extract | index | train | evaluate | predict | export | report`, also as `python -m hitagu_lib.cli`.

Each command is a pair of functions: `_add_<command>` declares its options, `_<command>` does the work and returns the exit
code. What is heavy is imported in the second one, so that `hitagu --help` answers at once.

Exit codes: 0 done; 1 done, but data failed or has faults, each named; 2 not done, with the reason on standard error;
130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hitagu_lib import __version__
from hitagu_lib.errors import HitaguError

_SHOWN = 10
"""How many of many failures are spelled out; the manifest has all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Wrong options end in SystemExit(2), as argparse has it."""
    parser = argparse.ArgumentParser(
        prog="hitagu", description="Human action recognition, from videos to a trained network."
    )
    parser.add_argument("--version", action="version", version=f"hitagu-net {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_prepare, _add_extract, _add_index, _add_train, _add_evaluate, _add_predict, _add_export, _add_report
    ):  # fmt: skip
        add(commands)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except HitaguError as error:
        print(f"hitagu: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # not about a file of the user's
            raise
        print(f"hitagu: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hitagu: stopped; the same command goes on from here", file=sys.stderr)
        return 130


Commands = argparse._SubParsersAction  # the type of add_subparsers(); argparse has no public name for it


def _add_prepare(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "prepare",
        help="make a data set",
        description="Make a data set of short synthetic videos: mini, or hard, in which things are smaller, events shorter and some "
        "classes told apart only by the order of two distant events.",
    )
    parser.add_argument("dataset", choices=["mini", "hard"], help="which one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: data/mini or data/hard)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed gives the same videos (default: %(default)s)"
    )
    parser.add_argument("--train-per-class", type=int, metavar="N", help="training clips (default: 120, of hard 40)")
    parser.add_argument("--val-per-class", type=int, metavar="N", help="validation clips (default: 30)")
    parser.add_argument("--no-ffmpeg", action="store_true", help="write the frames straight away, without videos")
    _add_workers(parser, "processes")
    parser.set_defaults(run=_prepare)


def _prepare(args: argparse.Namespace) -> int:
    from hitagu_lib.data.lists import read_list
    from hitagu_lib.data.synthetic import MiniSpec, prepare_mini

    counts = {"train_per_class": args.train_per_class, "val_per_class": args.val_per_class}
    given = {name: count for name, count in counts.items() if count is not None}
    spec, out = MiniSpec.of(args.dataset, seed=args.seed, **given), args.out or Path("data") / args.dataset
    prepare_mini(out, spec, use_ffmpeg=not args.no_ffmpeg, workers=args.workers, progress=True)
    train, val = (read_list(out / f"{split}.csv", out / "frames") for split in ("train", "val"))
    print(f"{out}: {len(train)} training and {len(val)} validation clips of {len(train.classes)} classes")
    return 0


def _add_extract(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "extract",
        help="videos to folders of JPEG frames",
        usage="hitagu extract [options] VIDEO OUT\n       hitagu extract [options] --root VIDEOS --out FRAMES",
        description="One video to the folder OUT, or every video below VIDEOS to the same folders below FRAMES: "
        "VIDEOS/a/vid.mp4 becomes FRAMES/a/vid/000001.jpg and so on. A run that was stopped goes on where it was; videos "
        "that fail are listed in FRAMES/failed.csv.",
    )
    parser.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help="one video file")
    parser.add_argument("folder", nargs="?", type=Path, metavar="OUT", help="the folder for its frames")
    parser.add_argument("--root", type=Path, metavar="VIDEOS", help="a folder with videos in it, at any depth")
    parser.add_argument("--out", type=Path, metavar="FRAMES", help="where their folders of frames go")
    parser.add_argument(
        "--short-side", type=int, default=256, metavar="PIXELS",
        help="scale the shorter side down to this, never up; 0 keeps the size (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--fps", type=float, metavar="RATE", help="frames a second (default: every frame once)")
    parser.add_argument(
        "--quality", type=int, default=2, metavar="Q", help="2 (best) to 31 (smallest) (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace frames that were made with other settings")
    _add_workers(parser, "videos at a time")
    parser.set_defaults(run=_extract, parser=parser)


def _extract(args: argparse.Namespace) -> int:
    from hitagu_lib.data.extract import MANIFEST, extract_tree, extract_video

    one, tree = (args.video, args.folder), (args.root, args.out)
    if not (all(one) and not any(tree)) and not (all(tree) and not any(one)):
        args.parser.error("expected either VIDEO OUT, or --root VIDEOS --out FRAMES")
    short_side = args.short_side or None
    if args.video:
        frames = extract_video(
            args.video, args.folder,
            short_side=short_side, fps=args.fps, quality=args.quality, overwrite=args.overwrite,
        )  # fmt: skip
        print(f"{args.folder}: {frames} frames")
        return 0
    report = extract_tree(
        args.root, args.out,
        short_side=short_side, fps=args.fps, quality=args.quality, overwrite=args.overwrite, workers=args.workers,
    )  # fmt: skip
    kept = f" and {report.kept} kept from before" if report.kept else ""
    print(
        f"{args.out}: {report.extracted} video{'s' * (report.extracted != 1)} extracted{kept}, {report.frames} frames"
    )
    if not report.failed:
        return 0
    for video, reason in report.failed[:_SHOWN]:
        print(f"{args.root / video}: {reason}", file=sys.stderr)
    total = len(report.failed) + report.extracted + report.kept
    print(f"hitagu: {len(report.failed)} of {total} videos failed, see {args.out / MANIFEST}", file=sys.stderr)
    return 1


def _add_index(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "index",
        help="list the clips of a folder, or check a list",
        usage="hitagu index --root FRAMES --out LIST [--relative-to DIR] [--classes FILE]\n"
        "       hitagu index --check LIST --root DIR [--classes FILE] [--no-decode] [--allow-unlabelled] [--workers N]\n"
        "       hitagu index kinetics700|ssv2 --annotations FILE --frames FRAMES --out LIST ... (see hitagu index ssv2 --help)",
        description="Write the list of FRAMES/class/video/000001.jpg as lines of path,label_index,num_frames, with the labels in "
        "classes.txt beside it; or check that the frames of a list are all there and can be decoded; or write the list of "
        "an official annotation file.",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="FRAMES; with --check what the paths start from")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--out", type=Path, metavar="LIST", help="the CSV to write")
    what.add_argument("--check", type=Path, metavar="LIST", help="the CSV to check")
    parser.add_argument("--relative-to", type=Path, metavar="DIR", help="what the paths start from (default: FRAMES)")
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="the training list's classes.txt, for a validation list"
    )
    parser.add_argument(
        "--no-decode", action="store_true", help="with --check: look for the frames without decoding them"
    )
    parser.add_argument(
        "--allow-unlabelled", action="store_true", help="with --check: take clips without a label, a test split's"
    )
    _add_workers(parser, "with --check: threads")
    parser.set_defaults(run=_index, parser=parser)
    datasets = parser.add_subparsers(title="official annotation files", metavar="DATASET", prog="hitagu index")
    _add_annotations(datasets, "kinetics700", "Kinetics-700", "train.csv")
    _add_annotations(datasets, "ssv2", "Something-Something V2", "train.json")


def _index(args: argparse.Namespace) -> int:
    from hitagu_lib.data.index import index_frames
    from hitagu_lib.data.lists import check_list, read_list

    if args.root is None:  # required here, and not in front of kinetics700 and ssv2
        args.parser.error("the following arguments are required: --root")
    if not args.out and not args.check:
        args.parser.error("one of the arguments --out --check is required")
    if args.check and args.relative_to:
        args.parser.error("--relative-to is for --out; with --check, --root is what the paths start from")
    if args.out and (args.no_decode or args.workers):
        args.parser.error("--no-decode and --workers are for --check")
    if args.out and args.allow_unlabelled:
        args.parser.error("--allow-unlabelled is for --check")
    if args.out:
        rows = index_frames(args.root, args.out, relative_to=args.relative_to, classes=args.classes, progress=True)
        print(f"{args.out}: {rows} clips; labels in {args.out.with_name('classes.txt')}")
        return 0
    clips = read_list(args.check, args.root, args.classes, allow_unlabelled=args.allow_unlabelled)
    problems = check_list(clips, decode=not args.no_decode, workers=args.workers)
    for problem in problems:
        print(f"{args.check}:{problem.line}: {args.root / problem.path}: {problem.what}")
    if problems:
        bad = len({problem.line for problem in problems})
        print(f"hitagu: {bad} of {len(clips)} clips are not as {args.check} says", file=sys.stderr)
        return 1
    print(
        f"{args.check}: {len(clips)} clips, "
        + ("their frames are there" if args.no_decode else "all frames can be decoded")
    )
    return 0


def _add_annotations(datasets: Commands[argparse.ArgumentParser], name: str, title: str, file: str) -> None:
    parser = datasets.add_parser(
        name,
        help=f"list the clips of the official {file} of {title}",
        description=f"Write the list of the clips in the official {file}. Those whose frames are not there, or not right, "
        "go to a manifest beside the list (LIST's name with .missing.csv: line,key,reason), and the exit code is 1.",
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="FILE", help=f"the official {file} or another split's"
    )
    if name == "ssv2":
        parser.add_argument("--labels", type=Path, required=True, metavar="FILE", help="the official labels.json")
    parser.add_argument("--frames", type=Path, required=True, metavar="FRAMES", help="the folder of all clips' folders")
    parser.add_argument("--out", type=Path, required=True, metavar="LIST", help="the CSV to write")
    parser.add_argument("--relative-to", type=Path, metavar="DIR", help="what the paths start from (default: FRAMES)")
    if name == "kinetics700":
        parser.add_argument(
            "--classes", type=Path, metavar="FILE", help="the training list's classes.txt, for another split's list"
        )
    parser.add_argument(
        "--allow-unlabelled", action="store_true", help="list clips without a label (as -1), a test split's, to predict"
    )
    parser.set_defaults(run=_index_annotations, dataset=name)


def _index_annotations(args: argparse.Namespace) -> int:
    from collections import Counter

    from hitagu_lib.data.annotations import index_kinetics700, index_ssv2

    options = {"relative_to": args.relative_to, "allow_unlabelled": args.allow_unlabelled, "progress": True}
    if args.dataset == "ssv2":
        report = index_ssv2(args.annotations, args.labels, args.frames, args.out, **options)
    else:
        report = index_kinetics700(args.annotations, args.frames, args.out, classes=args.classes, **options)
    print(f"{args.out}: {report.listed} clips; labels in {args.out.with_name('classes.txt')}")
    if not report.unlisted:
        return 0
    for clip in report.unlisted[:_SHOWN]:
        print(f"{args.annotations}:{clip.line}: {clip.key}: {clip.kind}: {clip.what}", file=sys.stderr)
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(clip.kind for clip in report.unlisted).most_common())
    total = report.listed + len(report.unlisted)
    print(
        f"hitagu: {len(report.unlisted)} of {total} clips not listed ({kinds}), see {report.manifest}", file=sys.stderr
    )
    return 1


def _add_train(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network from a params file",
        description="What book/03_train.ipynb runs, without its figures. A run that was stopped goes on from its last epoch.",
    )
    parser.add_argument("--params", default="params/mini.yaml", metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--overrides", default="", metavar="TEXT", help='such as "train.epochs=2 train.lr=0.01"')
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from accelerate import PartialState

    from hitagu_lib.config import load_config
    from hitagu_lib.train import train

    summary = train(load_config(args.params, args.overrides), progress=True)
    if PartialState().is_main_process:
        print("\n".join(f"{key}: {value}" for key, value in summary.items()))
    return 0


def _add_evaluate(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score the validation videos, by one view or several each",
        description="Score the videos of data.val_list, or one video, by a protocol: single (1 clip of segments, 1 crop), multi "
        "(10 clips x 3 crops where data.sampling is dense, 2 x 3 where it is segment) or tsm_twice (2 x 3). Writes report.json, "
        "predictions.csv and scores.npz. The network is the checkpoint's, the data and their T are the params'. The options from "
        "--protocol to --average stand for overrides of eval.protocol and so on.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="such as outputs/mini/checkpoints/last.pt"
    )
    parser.add_argument("--params", metavar="FILE", help="(default: what the checkpoint was trained with)")
    parser.add_argument("--overrides", default="", metavar="TEXT", help='such as "data.num_frames=16"')
    parser.add_argument("--protocol", choices=["single", "multi", "tsm_twice"], help="(default: the params')")
    parser.add_argument("--clips", type=_at_least_one, metavar="N", help="clips a video (default: the protocol's)")
    parser.add_argument("--crops", type=_at_least_one, metavar="M", help="crops a frame (default: the protocol's)")
    parser.add_argument("--average", choices=["probabilities", "logits"], help="of the views (default: the params')")
    parser.add_argument(
        "--video", type=Path, metavar="DIR", help="one folder of frames, or video file, instead of the list"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where to (default: evaluate-<protocol> in the run's folder; with --video only to the screen)",
    )  # fmt: skip
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from hitagu_lib.config import read_params, resolve
    from hitagu_lib.runs import load_checkpoint
    from hitagu_lib.views import default_folder, evaluate, evaluate_video

    given = {key: getattr(args, key) for key in ("protocol", "clips", "crops", "average")}
    overrides = " ".join(
        [args.overrides, *(f"eval.{key}={value}" for key, value in given.items() if value is not None)]
    )
    params = read_params(args.params) if args.params else load_checkpoint(args.checkpoint)["params"]
    cfg = resolve(params, overrides, source=str(args.params or args.checkpoint))
    if args.video:
        report = evaluate_video(cfg, args.checkpoint, args.video, args.out)
        ranked = list(zip(report["scores"], report["labels"], strict=True))[:5]
        views = report["views"]
        print(
            f"{args.video}: {report['protocol']}, {views['clips']} x {views['crops']} views, mean of {report['average']}"
        )
        print(*(f"  {score:9.4f}  {label}" for score, label in ranked), sep="\n")
        return 0
    report = evaluate(cfg, args.checkpoint, args.out, progress=True)
    views = report["views"]
    print(
        f"{args.out or default_folder(args.checkpoint, report['protocol'])}: {report['videos_scored']} videos, "
        f"{report['protocol']}, {views['clips']} x {views['crops']} views, mean of {report['average']}"
    )
    for name in ("top1", "top5", "mean_class_accuracy"):
        print(f"  {report[name]:6.1%}  {name.replace('_', ' ')}")
    if not report["videos_failed"]:
        return 0
    for failed in report["failed"][:_SHOWN]:
        print(failed, file=sys.stderr)
    print(
        f"hitagu: {report['videos_failed']} of {report['videos_listed']} videos could not be read and are left out; counted as "
        f"wrong, top1 is {report['top1_of_listed']:.1%}",
        file=sys.stderr,
    )
    return 1


def _add_predict(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="rank the labels for videos",
        description="Rank the labels for each video file or folder of frames: one clip, sampled and cropped as in validation.",
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE", help="a video, or a folder of 000001.jpg ...")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="such as outputs/mini/checkpoints/last.pt"
    )
    parser.add_argument(
        "--top", type=_at_least_one, default=5, metavar="N", help="labels to show (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for each video")
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    import json

    from hitagu_lib.predict import load_model, predict

    model, cfg, classes = load_model(args.checkpoint)
    failed = 0
    for source in args.sources:
        try:
            prediction = predict(source, model, cfg.data, classes)
        except HitaguError as error:
            failed += 1
            print(f"hitagu: {error}", file=sys.stderr)
            continue
        ranked = list(zip(prediction.labels, prediction.probabilities, strict=True))[: args.top]
        if args.json:
            best = [{"label": label, "probability": probability} for label, probability in ranked]
            print(json.dumps({"source": str(source), "predictions": best}, ensure_ascii=False))
        else:
            print(source, *(f"  {probability:6.1%}  {label}" for label, probability in ranked), sep="\n")
    return 1 if failed else 0


def _add_export(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="a trained network as ONNX or .pt2",
        description="Write the network of a checkpoint as one file that runs without this library: ONNX, or torch.export's .pt2. It takes "
        "x (B, T, 3, H, W), normalised, and t (B, T); B is free, T and H = W are fixed. The file is checked against the network first, "
        "and carries the class labels and the parameters.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="such as outputs/mini/checkpoints/last.pt"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="model.onnx or model.pt2")
    parser.add_argument(
        "--num-frames", type=_at_least_one, metavar="T", help="frames a clip (default: as it was trained)"
    )
    parser.add_argument(
        "--image-size", type=_at_least_one, metavar="PIXELS", help="side of a frame (default: as it was trained)"
    )
    parser.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    from hitagu_lib.export import export_checkpoint

    cfg, difference = export_checkpoint(args.checkpoint, args.out, args.num_frames, args.image_size)
    T, S = cfg.data.num_frames, cfg.data.image_size
    print(f"{args.out}: x (B, {T}, 3, {S}, {S}), t (B, {T}); its logits are within {difference:.0e} of the network's")
    return 0


def _add_report(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="tell what a recipe's model costs", description="Report on a recipe.")
    reports = parser.add_subparsers(title="reports", metavar="WHAT", required=True)
    model = reports.add_parser(
        "model",
        help="multiply-adds and parameters by module",
        description="Multiply-adds for one view and parameters of the recipe's model, by module and in total. Needs neither data "
        "nor weights nor a network.",
    )
    model.add_argument("--params", default="params/mini.yaml", metavar="FILE", help="(default: %(default)s)")
    model.add_argument("--overrides", default="", metavar="TEXT", help='such as "model.temporal=tsm"')
    model.add_argument(
        "--classes", type=_at_least_one, metavar="N",
        help="number of classes (default: the lines of the recipe's classes.txt; where that is not there, 174)",
    )  # fmt: skip
    model.add_argument("--json", action="store_true", help="one JSON object: gflops, params_millions, modules, ...")
    model.set_defaults(run=_report_model)


def _report_model(args: argparse.Namespace) -> int:
    import json

    from hitagu_lib.config import load_config
    from hitagu_lib.report import model_report, model_report_text

    report = model_report(load_config(args.params, args.overrides), args.classes)
    print(json.dumps(report, indent=2) if args.json else model_report_text(report))
    return 0


def _add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--workers", type=_at_least_one, metavar="N", help=f"{what} (default: one a core)")


def _at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
