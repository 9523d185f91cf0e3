"""`hitagu prepare | extract | index | split`: from videos to lists of clips."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hitagu_lib.cli.options import SHOWN, Commands, add_workers


def add_prepare(commands: Commands[argparse.ArgumentParser]) -> None:
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
    add_workers(parser, "processes")
    parser.set_defaults(run=_prepare)


def _prepare(args: argparse.Namespace) -> int:
    from hitagu_lib.data.clip_list import read_list
    from hitagu_lib.prepare.synthetic.make import MiniSpec, prepare_mini

    counts = {"train_per_class": args.train_per_class, "val_per_class": args.val_per_class}
    given = {name: count for name, count in counts.items() if count is not None}
    spec, out = MiniSpec.of(args.dataset, seed=args.seed, **given), args.out or Path("data") / args.dataset
    prepare_mini(out, spec, use_ffmpeg=not args.no_ffmpeg, workers=args.workers, progress=True)
    train, val = (read_list(out / f"{split}.csv", out / "frames") for split in ("train", "val"))
    print(f"{out}: {len(train)} training and {len(val)} validation clips of {len(train.classes)} classes")
    return 0


def add_extract(commands: Commands[argparse.ArgumentParser]) -> None:
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
    add_workers(parser, "videos at a time")
    parser.set_defaults(run=_extract, parser=parser)


def _extract(args: argparse.Namespace) -> int:
    from hitagu_lib.prepare.extract import extract_tree, extract_video
    from hitagu_lib.prepare.videos import MANIFEST, SKIPPED, left_out

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
    if report.skipped:
        print(left_out(report.skipped, args.out / SKIPPED), file=sys.stderr)
    if not report.failed:
        return 0
    for video, reason in report.failed[:SHOWN]:
        print(f"{args.root / video}: {reason}", file=sys.stderr)
    total = len(report.failed) + report.extracted + report.kept
    print(f"hitagu: {len(report.failed)} of {total} videos failed, see {args.out / MANIFEST}", file=sys.stderr)
    return 1


def add_index(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "index",
        help="list the clips of a folder, or check a list",
        usage="hitagu index --root FRAMES --out LIST [--relative-to DIR] [--classes FILE] [--source video]\n"
        "       hitagu index --check LIST --root DIR [--classes FILE] [--source video] [--no-decode] [--allow-unlabelled] [--workers N]\n"
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
    _add_source(parser)
    parser.add_argument(
        "--no-decode", action="store_true", help="with --check: look for the frames without decoding them"
    )
    parser.add_argument(
        "--allow-unlabelled", action="store_true", help="with --check: take clips without a label, a test split's"
    )
    add_workers(parser, "with --check: threads")
    parser.set_defaults(run=_index, parser=parser)
    datasets = parser.add_subparsers(title="official annotation files", metavar="DATASET", prog="hitagu index")
    _add_annotations(datasets, "kinetics700", "Kinetics-700", "train.csv")
    _add_annotations(datasets, "ssv2", "Something-Something V2", "train.json")


def _index(args: argparse.Namespace) -> int:
    from hitagu_lib.data.clip_list import read_list
    from hitagu_lib.prepare.check import check_list
    from hitagu_lib.prepare.index import index_frames
    from hitagu_lib.prepare.videos import left_out

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
        report = index_frames(
            args.root, args.out,
            relative_to=args.relative_to, classes=args.classes, source=args.source, progress=True,
        )  # fmt: skip
        print(f"{args.out}: {report.clips} clips; labels in {args.out.with_name('classes.txt')}")
        if report.skipped:
            print(left_out(report.skipped, report.manifest), file=sys.stderr)
        return 0
    clips = read_list(args.check, args.root, args.classes, allow_unlabelled=args.allow_unlabelled)
    problems = check_list(clips, source=args.source, decode=not args.no_decode, workers=args.workers)
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


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", choices=["frames", "video"], default="frames",
        help="what is listed: folders of frames, or video files, for data.source: video (default: %(default)s)",
    )  # fmt: skip


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
    _add_source(parser)
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

    from hitagu_lib.prepare.annotations import index_kinetics700, index_ssv2

    options = {
        "relative_to": args.relative_to,
        "allow_unlabelled": args.allow_unlabelled,
        "source": args.source,
        "progress": True,
    }
    if args.dataset == "ssv2":
        report = index_ssv2(args.annotations, args.labels, args.frames, args.out, **options)
    else:
        report = index_kinetics700(args.annotations, args.frames, args.out, classes=args.classes, **options)
    print(f"{args.out}: {report.listed} clips; labels in {args.out.with_name('classes.txt')}")
    if not report.unlisted:
        return 0
    for clip in report.unlisted[:SHOWN]:
        print(f"{args.annotations}:{clip.line}: {clip.key}: {clip.kind}: {clip.what}", file=sys.stderr)
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(clip.kind for clip in report.unlisted).most_common())
    total = report.listed + len(report.unlisted)
    print(
        f"hitagu: {len(report.unlisted)} of {total} clips not listed ({kinds}), see {report.manifest}", file=sys.stderr
    )
    return 1


def add_split(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "split",
        help="a folder of your own videos to frames, a training and a validation list",
        description="Extract the videos VIDEOS/class/name.mp4 to OUT/frames and divide them into OUT/train.csv and OUT/val.csv, with the "
        "labels in OUT/classes.txt. Clips that were cut from one source stay on one side; a clip's source is its name without the "
        "numbers at its end (kitchen_001, kitchen_12_22 and kitchen-2 are of kitchen), and stands in OUT/sources.csv. A run that was "
        "stopped goes on where it was; with another seed, share or rule only the lists are made anew.",
    )
    parser.add_argument(
        "--videos", type=Path, required=True, metavar="VIDEOS", help="a folder with a subfolder a class"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="where to, such as data/own")
    parser.add_argument(
        "--val-share", type=float, default=0.25, metavar="SHARE", help="of each class's clips (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same lists (default: %(default)s)")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--group", metavar="REGEX",
        help="what the source is in a name without its ending: the first group, such as '(.*)_c[0-9]+'; '(.*)' makes each file its own",
    )  # fmt: skip
    rule.add_argument(
        "--groups", type=Path, metavar="CSV", help="or a file that says it, with the columns video and source, as OUT/sources.csv"
    )  # fmt: skip
    parser.add_argument(
        "--short-side", type=int, default=256, metavar="PIXELS",
        help="scale the frames' shorter side down to this, never up; 0 keeps the size (default: %(default)s)",
    )  # fmt: skip
    add_workers(parser, "videos at a time")
    parser.set_defaults(run=_split, parser=parser)


def _split(args: argparse.Namespace) -> int:
    from hitagu_lib.prepare.split import split_videos
    from hitagu_lib.prepare.videos import MANIFEST, SKIPPED, left_out

    if args.seed < 0:
        args.parser.error(f"--seed: found {args.seed}, expected at least 0")
    report = split_videos(
        args.videos, args.out,
        val_share=args.val_share, seed=args.seed, group=args.group, groups=args.groups,
        short_side=args.short_side or None, workers=args.workers,
    )  # fmt: skip
    print(*report.table(), sep="\n")
    print(
        f"{args.out}: {len(report.train)} training and {len(report.val)} validation clips of {len(report.classes)} classes; "
        f"{args.out / 'sources.csv'} says what was taken for one source"
    )
    if report.skipped:
        print(left_out(report.skipped, args.out / "frames" / SKIPPED), file=sys.stderr)
    if not report.failed:
        return 0
    for video, reason in report.failed[:SHOWN]:
        print(f"{args.videos / video}: {reason}", file=sys.stderr)
    manifest = args.out / "frames" / MANIFEST
    print(f"hitagu: {len(report.failed)} videos failed and are in neither list, see {manifest}", file=sys.stderr)
    return 1
