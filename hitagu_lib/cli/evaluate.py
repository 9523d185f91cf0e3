"""`hitagu evaluate | predict`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hitagu_lib.cli.options import SHOWN, Commands, add_checkpoint, at_least_one
from hitagu_lib.errors import HitaguError


def add_evaluate(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score the validation videos, by one view or several each",
        description="Score the videos of data.val_list, or one video, by a protocol: single (1 clip of segments, 1 crop), multi "
        "(10 clips x 3 crops where data.sampling is dense, 2 x 3 where it is segment) or tsm_twice (2 x 3). Writes report.json, "
        "predictions.csv, classes.csv, confusion.csv and scores.npz; stopped, it goes on where it stopped. The network is the "
        "checkpoint's, the data and their T are the params'. The options from --protocol to --order-tests stand for overrides of "
        "eval.protocol and so on. Several processes: torchrun --nproc_per_node 2 -m hitagu_lib evaluate ...",
    )
    add_checkpoint(parser)
    parser.add_argument("--params", metavar="FILE", help="(default: what the checkpoint was trained with)")
    parser.add_argument("--overrides", default="", metavar="TEXT", help='such as "data.num_frames=16"')
    parser.add_argument("--protocol", choices=["single", "multi", "tsm_twice"], help="(default: the params')")
    parser.add_argument("--clips", type=at_least_one, metavar="N", help="clips a video (default: the protocol's)")
    parser.add_argument("--crops", type=at_least_one, metavar="M", help="crops a frame (default: the protocol's)")
    parser.add_argument("--average", choices=["probabilities", "logits"], help="of the views (default: the params')")
    parser.add_argument(
        "--order-tests", action=argparse.BooleanOptionalAction,
        help="also with frames shuffled, reversed, frozen to the middle one (default: the params')",
    )  # fmt: skip
    parser.add_argument(
        "--video", type=Path, metavar="DIR", help="one folder of frames, or video file, instead of the list"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where to (default: evaluate-<protocol> in the run's folder; with --video only to the screen)",
    )  # fmt: skip
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from accelerate import PartialState

    from hitagu_lib.config import read_params, resolve
    from hitagu_lib.evaluation.evaluate import default_folder, evaluate, evaluate_video
    from hitagu_lib.prepare.synthetic.make import prepare_data
    from hitagu_lib.runs.checkpoint import load_checkpoint

    given = {key: getattr(args, key) for key in ("protocol", "clips", "crops", "average", "order_tests")}
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
    with PartialState().main_process_first():
        prepare_data(cfg.data, progress=True)
    report = evaluate(cfg, args.checkpoint, args.out, progress=True)
    if not PartialState().is_main_process:
        return 1 if report["videos_failed"] else 0
    views, pairs, calibrated = report["views"], report["reversed_pairs"], report["calibration"]
    resumed = f" ({report['videos_resumed']} of them before)" if report["videos_resumed"] else ""
    print(
        f"{args.out or default_folder(args.checkpoint, report['protocol'])}: {report['videos_scored']} videos{resumed}, "
        f"{report['protocol']}, {views['clips']} x {views['crops']} views, mean of {report['average']}"
    )
    for name in ("top1", "top5", "mean_class_accuracy"):
        low, high = report["intervals"][name]
        print(f"  {report[name]:6.1%}  {name.replace('_', ' ')} (95 % interval {low:.1%} to {high:.1%})")
    if pairs:
        print(f"  {pairs['called_partner']:6.1%}  called the reversed class, of {pairs['videos']} videos that have one")
    print(
        f"  {calibrated['expected_calibration_error']:6.1%}  calibration error; mean confidence "
        f"{calibrated['mean_confidence']:.1%}, {calibrated['probabilities']}"
    )
    for order, of in report["orders"].items():
        called = f", called the reversed class {of['reversed_pairs']['called_partner']:.1%}" if pairs else ""
        print(f"  {of['top1']:6.1%}  top1 with frames {order}{called}")
    if not report["videos_failed"]:
        return 0
    for failed in report["failed"][:SHOWN]:
        print(failed, file=sys.stderr)
    print(
        f"hitagu: {report['videos_failed']} of {report['videos_listed']} videos could not be read and are left out; counted as "
        f"wrong, top1 is {report['top1_of_listed']:.1%}",
        file=sys.stderr,
    )
    return 1


def add_predict(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="rank the labels for videos",
        description="Rank the labels for each video file, of any format that ffmpeg reads, or folder of frames: one clip, sampled and "
        "cropped as in validation.",
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE", help="a video, or a folder of 000001.jpg ...")
    add_checkpoint(parser)
    parser.add_argument(
        "--top", type=at_least_one, default=5, metavar="N", help="labels to show (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for each video")
    parser.add_argument(
        "--overlay", type=Path, metavar="OUT",
        help="also write each video with the network's attention and its prediction so far drawn in: a file OUT.mp4 for one FILE, or a "
        "folder OUT, in which they are called NAME.overlay.mp4",
    )  # fmt: skip
    parser.add_argument(
        "--window", type=at_least_one, metavar="N",
        help="with --overlay: the prediction rests on the last N frames so far (default: 1024, or data.dense_span where sampling is dense)",
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=_rate, metavar="RATE",
        help="with --overlay: frames a second (default: the video's own; of a folder of frames 25)",
    )  # fmt: skip
    parser.set_defaults(run=_predict, parser=parser)


def _predict(args: argparse.Namespace) -> int:
    import json

    import torch

    from hitagu_lib.inference.predict import load_model, predict

    if args.overlay is None and (args.window or args.fps):
        args.parser.error("--window and --fps are for --overlay")
    overlays = _overlay_files(args) if args.overlay else {}
    model, cfg, classes = load_model(args.checkpoint)
    if (device := torch.accelerator.current_accelerator(check_available=True)) is not None:
        model.to(device)
    failed, attention = 0, True
    for source in args.sources:
        try:
            prediction = predict(source, model, cfg.data, classes)
            ranked = list(zip(prediction.labels, prediction.probabilities, strict=True))[: args.top]
            if args.json:
                best = [{"label": label, "probability": probability} for label, probability in ranked]
                print(json.dumps({"source": str(source), "predictions": best}, ensure_ascii=False))
            else:
                print(source, *(f"  {probability:6.1%}  {label}" for label, probability in ranked), sep="\n")
            if overlays:
                from hitagu_lib.viz.overlay import overlay_video

                running = overlay_video(
                    source, overlays[source], model, cfg.data, classes,
                    window=args.window, fps=args.fps, frames_at_once=cfg.eval.frames_at_once, progress=True,
                )  # fmt: skip
                print(f"hitagu: wrote {overlays[source]}", file=sys.stderr)  # standard output is the predictions'
                attention = running.spatial_map is not None or running.reads is not None
        except HitaguError as error:
            failed += 1
            print(f"hitagu: {error}", file=sys.stderr)
    if not attention:
        print(
            f"hitagu: this network ({cfg.model.temporal}) has no attention to draw: its prediction alone",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _overlay_files(args: argparse.Namespace) -> dict[Path, Path]:
    """Where each source's overlay goes; options that do not fit end as argparse ends them."""
    from hitagu_lib.media.ffmpeg import VIDEO_SUFFIXES

    out: Path = args.overlay
    if out.suffix.lower() == ".mp4" and not out.is_dir():
        if len(args.sources) > 1:
            args.parser.error(f"--overlay {out}: one file for {len(args.sources)} videos; give a folder")
        files = {args.sources[0]: out}
    elif out.suffix.lower() in VIDEO_SUFFIXES and not out.is_dir():
        args.parser.error(f"--overlay {out}: overlays are MP4; give a name that ends in .mp4, or a folder")
    else:
        files = {}
        for source in args.sources:
            name = source.resolve().name if source.is_dir() else source.stem
            files[source] = out / f"{name}.overlay.mp4"
            if len(set(files.values())) < len(files):
                args.parser.error(f"--overlay {out}: {source} and another FILE would both become {files[source]}")
    for source, file in files.items():
        if file.exists() and any(file.samefile(other) for other in args.sources if other.exists()):
            args.parser.error(f"--overlay {file}: would replace the video itself; give another name than {source}")
    return files


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected frames a second, above 0 to 1000")
    return rate
