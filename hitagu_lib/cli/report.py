"""`hitagu report`."""

from __future__ import annotations

import argparse
import json

from hitagu_lib.cli.options import Commands, add_recipe, at_least_one


def add_report(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "report",
        help="tell what a recipe's model costs; compare two evaluations",
        description="Report on a recipe, or on results.",
    )
    reports = parser.add_subparsers(title="reports", metavar="WHAT", required=True)
    model = reports.add_parser(
        "model",
        help="multiply-adds and parameters by module",
        description="Multiply-adds for one view and parameters of the recipe's model, by module and in total. Needs neither data "
        "nor weights nor a network.",
    )
    add_recipe(model, "model.temporal=tsm")
    model.add_argument(
        "--classes", type=at_least_one, metavar="N",
        help="number of classes (default: the lines of the recipe's classes.txt; where that is not there, 174)",
    )  # fmt: skip
    model.add_argument("--json", action="store_true", help="one JSON object: gflops, params_millions, modules, ...")
    model.set_defaults(run=_report_model)
    lists = reports.add_parser(
        "lists",
        help="clips a class, duplicates, videos in training and validation",
        description="Count the clips of each class in the recipe's two lists, and find clips that a list has twice and videos that both "
        "lists have (by path; in lists of Kinetics also by YouTube id). The exit code is 1 where there are any.",
    )
    add_recipe(lists, "data.val_list=test.csv")
    lists.add_argument("--json", action="store_true", help="one JSON object, with every class, duplicate and leak")
    lists.set_defaults(run=_report_lists)
    compare = reports.add_parser(
        "compare",
        help="two evaluations, video by video",
        description="Compare top-1 of two evaluations over the videos that both scored: how many only one has right, the difference with "
        "its interval, McNemar's exact test. Both must be of the same list.",
    )
    for name in ("a", "b"):
        compare.add_argument(
            name, metavar=name.upper(), help="what `hitagu evaluate` wrote: a folder, or its scores.npz"
        )
    compare.add_argument("--json", action="store_true", help="one JSON object: difference, interval, p, ...")
    compare.set_defaults(run=_report_compare)


def _report_model(args: argparse.Namespace) -> int:
    from hitagu_lib.config import load_config
    from hitagu_lib.models.cost import model_report, model_report_text

    report = model_report(load_config(args.params, args.overrides), args.classes)
    print(json.dumps(report, indent=2) if args.json else model_report_text(report))
    return 0


def _report_lists(args: argparse.Namespace) -> int:
    from hitagu_lib.config import load_config
    from hitagu_lib.prepare.audit import audit_lists, audit_text, is_clean

    report = audit_lists(load_config(args.params, args.overrides).data)
    print(json.dumps(report, indent=2, ensure_ascii=False) if args.json else audit_text(report))
    return 0 if is_clean(report) else 1


def _report_compare(args: argparse.Namespace) -> int:
    from hitagu_lib.evaluation.mcnemar import compare_results, comparison_text

    found = compare_results(args.a, args.b)
    print(json.dumps(found, indent=2, ensure_ascii=False) if args.json else comparison_text(found))
    return 0
