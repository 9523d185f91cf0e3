"""Check the book's claims: run each quick claim's command and compare the number it prints with the one in the text.

    python -m experiments.claims            # the quick ones, in less than five minutes
    python -m experiments.claims --all      # hours
    python -m experiments.claims --table    # only print the table, as chapter 9 shows it

experiments/claims.yaml lists claim, command, file, tolerance, minutes. A command that several claims share runs once. The exit code is 1
if a claim fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from hitagu_lib.files import project_root

CLAIMS = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Claim:
    """A claim and its check. said: file -> the words in which it makes the claim."""

    claim: str
    command: str
    file: str
    said: dict[str, str]
    minutes: float
    find: str | None = None
    value: float | None = None
    tolerance: float | None = None
    quick: bool = False

    def judge(self, code: int, output: str) -> tuple[bool, str]:
        """Return whether the claim holds, given its command's exit code and output, and what was found."""
        if code:
            return False, f"exit code {code}: {(output.strip().splitlines() or ['no output'])[-1]}"
        if self.find is None or self.value is None or self.tolerance is None:
            return True, "passed"
        found = re.search(self.find, output, re.MULTILINE)
        if found is None:
            return False, "no such number in the output"
        # 98.85 is within 0.05 of 98.9, which binary numbers miss by their last digit.
        return abs(float(found[1]) - self.value) <= self.tolerance + 1e-9, found[1]


def read_claims(file: Path = CLAIMS) -> list[Claim]:
    """Read the list. Raises TypeError naming a key that is unknown or missing."""
    return [Claim(**entry) for entry in yaml.safe_load(file.read_text(encoding="utf-8"))]


def run(command: str) -> tuple[int, str]:
    """Run a shell command at the project's root with this environment's tools; return its exit code and output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command, shell=True, cwd=project_root(), env=os.environ | {"PATH": path}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def claims_table(claims: list[Claim]) -> str:
    """Return the reviewer's table as Markdown."""
    rows = [
        {
            "claim": c.claim,
            "value": "holds" if c.value is None else f"{c.value:g}",
            "± tolerance": "" if c.tolerance is None else f"{c.tolerance:g}",
            "command": f"`{c.command}`",
            "file": f"`{c.file}`",
            "minutes": f"{c.minutes:g}",
        }
        for c in claims
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check the book's claims.")
    parser.add_argument("--all", action="store_true", help="also the claims that take minutes to hours")
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("--claims", type=Path, default=CLAIMS, help="the list of claims")
    args = parser.parse_args(argv)
    claims = read_claims(args.claims)
    if args.table:
        print(claims_table(claims))
        return 0
    outputs: dict[str, tuple[int, str]] = {}
    failed = 0
    for claim in claims:
        if not (claim.quick or args.all):
            print(f"not run  {claim.claim}: {claim.command} ({claim.minutes:g} minutes)")
            continue
        if claim.command not in outputs:
            outputs[claim.command] = run(claim.command)
        holds, found = claim.judge(*outputs[claim.command])
        expected = "" if claim.value is None else f", claimed {claim.value:g} ± {claim.tolerance:g}"
        print(f"{'holds' if holds else 'FAILS':7}  {claim.claim}: {found}{expected}", flush=True)
        failed += not holds
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
