"""The solutions of a chapter's exercises: the Python that `pytest --nbval` runs after the chapter's own cells, in the same kernel."""

import re
from collections.abc import Iterator

SOLUTION = re.compile(r"<details><summary>Solution</summary>\n(.*?)</details>", re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def solutions(markdown: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield the number of the solution, its code, and what the text says that it prints (a block of text behind it; None: it does not say).

    Python that follows commands is left out: it reads what these make, in hours. tests/test_commands.py checks the commands.
    """
    for number, solution in enumerate(SOLUTION.findall(markdown), start=1):
        blocks = BLOCK.findall(solution)
        if any(kind == "bash" for kind, *_ in blocks):
            continue
        for kind, code, printed in blocks:
            if kind == "python":
                yield number, code, printed or None
