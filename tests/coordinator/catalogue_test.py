"""Proves that every case of the failure catalogue in coordinator/README.md is there, and has a test that names its number.

usage: catalogue_test.py SOURCE_FOLDER
"""

import pathlib
import re
import sys

CASES = range(1, 58)


def numbers(cell):
    """Those of a table's first column: "3, 5" or "41-43"."""
    for part in cell.split(","):
        first, _, last = part.strip().partition("-")
        yield from range(int(first), int(last or first) + 1)


def main(source):
    tests = set()
    for path in (source / "tests").rglob("*"):
        if path.suffix in (".cc", ".py") and path.resolve() != pathlib.Path(__file__).resolve():
            tests.update(int(number) for number in re.findall(r"(?:, Case|def test_case)(\d\d)_", path.read_text()))
    catalogue = (source / "coordinator/README.md").read_text().partition("## Failure catalogue")[2]
    listed = [number for row in re.findall(r"^\| (\d[^|]*?) \|", catalogue, re.M) for number in numbers(row)]
    problems = [f"case {number} has no row in coordinator/README.md" for number in CASES if number not in listed]
    problems += [f"case {number} has {listed.count(number)} rows" for number in CASES if listed.count(number) > 1]
    problems += [f"case {number} has no test named Case{number:02}_" for number in CASES if number not in tests]
    problems += [f"tests name case {number}, which is none" for number in sorted(tests - set(CASES))]
    print("\n".join(problems) or f"{len(CASES)} cases, each with a test")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
