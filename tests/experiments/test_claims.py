"""The reviewer's table: its files and sentences exist, and a claim that is false fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from prose import prose

from experiments.claims import Claim, claims_table, main, read_claims

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = read_claims()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.claim)
def test_a_claim_stands_in_the_text_and_its_file_exists(claim: Claim) -> None:
    assert claim.file == "outputs/mini/summary.json" or (ROOT / claim.file).exists()
    for file, words in claim.said.items():
        assert words in prose(file), f"{file} no longer says {words!r}"
    if claim.value is not None and claim.tolerance is not None and claim.tolerance < 1:
        assert any(f"{claim.value:g}" in words for words in claim.said.values()), "the sentence has the number"


def test_the_quick_claims_take_less_than_five_minutes() -> None:
    commands = {claim.command: claim.minutes for claim in CLAIMS if claim.quick}
    assert 0 < sum(commands.values()) < 5


def write(tmp_path: Path, *claims: str) -> list[str]:
    file = tmp_path / "claims.yaml"
    file.write_text("".join(f"- {{file: f, said: {{}}, minutes: 0, quick: true, {claim}}}\n" for claim in claims))
    return ["--claims", str(file)]


def test_each_claim_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = "find: 'top (\\d+\\.\\d)', value: 98.9, tolerance: 0.05"
    true = write(tmp_path, f"claim: a, command: echo top 98.9, {number}", "claim: b, command: 'true'")
    assert main(true) == 0
    assert capsys.readouterr().out == "holds    a: 98.9, claimed 98.9 ± 0.05\nholds    b: passed\n"
    false = write(
        tmp_path, f"claim: a, command: echo top 98.8, {number}", "claim: b, command: echo broken; exit 3",
        f"claim: c, command: echo nothing, {number}", "claim: d, command: exit 1, quick: false, minutes: 9",
    )  # fmt: skip
    assert main(false) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAILS    a: 98.8, claimed 98.9 ± 0.05",
        "FAILS    b: exit code 3: broken",
        "FAILS    c: no such number in the output, claimed 98.9 ± 0.05",
        "not run  d: exit 1 (9 minutes)",
    ]


def test_the_table_has_every_claim() -> None:
    table = claims_table(CLAIMS)
    assert len(table.splitlines()) == 2 + len(CLAIMS)
    assert all(f"`{claim.command}`" in table for claim in CLAIMS)
