"""`hitagu report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hitagu_lib.cli.options import COUNT, PATH, Group, recipe_options


@click.group(cls=Group)
def report() -> None:
    """Report on an environment, a model, lists or finished runs."""


@report.command
def environment() -> int:
    """Check that all the book needs is here.

    Checks Python, the packages, PyTorch with torchvision, ffmpeg, the notebooks' kernel, the processor's cores and the disk space. If
    something is missing, the report says what to do, and the exit code is 1.

    \b
    hitagu report environment
    """
    from hitagu_lib.runs.environment import check_environment, environment_text

    checks = check_environment(Path())
    click.echo(environment_text(checks))
    return int(any(check.advice for check in checks))


@report.command
@recipe_options("model.temporal=tsm")
@click.option(
    "--classes", type=COUNT, metavar="N",
    help="Number of classes.  [default: as many as the recipe's classes.txt has lines, or 174 without that file]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: gflops, params_millions, modules, ...")
def model(params: Path, overrides: str, classes: int | None, as_json: bool) -> int:
    """Count multiply-adds and parameters by module.

    The multiply-adds are those of one view. The command needs neither data nor weights, and downloads nothing.

    \b
    hitagu report model --params params/ssv2.yaml --overrides model.temporal=tsm
    """
    from hitagu_lib.config import load_config
    from hitagu_lib.models.cost import model_report, model_report_text

    found = model_report(load_config(params, overrides), classes)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else model_report_text(found))
    return 0


@report.command
@recipe_options("data.val_list=test.csv")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every class, duplicate and leak.")
def lists(params: Path, overrides: str, as_json: bool) -> int:
    """Count clips per class; find duplicates and leaks.

    A duplicate is a clip that one list has twice. A leak is a video that both the training and the validation list have: by path, and for
    Kinetics also by YouTube id. The exit code is 1 if there are any.
    """
    from hitagu_lib.config import load_config
    from hitagu_lib.prepare.audit import audit_lists, audit_text, is_clean

    found = audit_lists(load_config(params, overrides).data)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else audit_text(found))
    return 0 if is_clean(found) else 1


@report.command
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: difference, interval, p, ...")
def compare(a: Path, b: Path, as_json: bool) -> int:
    """Compare two evaluations of one list, video by video.

    A and B are folders that `hitagu evaluate` wrote, or their scores.npz. Over the videos that both scored, the report counts those that
    only one of them gets right, and gives the difference in top-1 with its interval and McNemar's exact test.

    \b
    hitagu report compare outputs/mini/evaluate-single outputs/mini/evaluate-multi
    """
    from hitagu_lib.evaluation.mcnemar import compare_results, comparison_text

    found = compare_results(a, b)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else comparison_text(found))
    return 0


@report.command
@click.argument("results", nargs=-1, required=True, type=PATH, metavar="RESULTS...")
@click.option(
    "--groups", type=PATH, metavar="CSV", help="Each video's source, as `hitagu split` writes it to OUT/sources.csv."
)
@click.option(
    "--against", multiple=True, type=PATH, metavar="RESULTS", help="Another network's results, one option per fold."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def folds(results: tuple[Path, ...], groups: Path | None, against: tuple[Path, ...], as_json: bool) -> int:
    """Put the results of several folds together.

    RESULTS are folders that `hitagu evaluate` wrote, one for each fold (or also for each seed: a video that several scored counts once,
    with its mean). The intervals come from a bootstrap over groups, since clips of one source resemble one another.

    \b
    hitagu report folds outputs/own/fold*/evaluate-single --groups data/own/sources.csv
    """
    from hitagu_lib.evaluation.folds import folds_report, folds_text

    found = folds_report(results, against, groups)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else folds_text(found))
    return 0


@report.command
@click.argument("folders", type=PATH, nargs=-1)
@click.option(
    "--peers", type=PATH, default="outputs/published/peers.yaml", metavar="FILE", help="Data sets and published numbers."
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: results, left_out.")
def reproduction(folders: tuple[Path, ...], peers: Path, as_json: bool) -> int:
    """Put your runs beside published numbers.

    Every run in and under FOLDERS counts: runs that differ in their seed alone become one row, with the spread over seeds, the cost,
    each deviation from the recipe and a verdict. A data set without a run gets the commands that make one.

    \b
    hitagu report reproduction outputs/*
    """
    from dataclasses import asdict

    from hitagu_lib.evaluation.reproduction import reproduction as find
    from hitagu_lib.evaluation.reproduction import reproduction_text

    found = find(folders, peers)
    plain = {"results": [asdict(result) for result in found.results], "left_out": found.left_out}
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False) if as_json else reproduction_text(found))
    return 0
