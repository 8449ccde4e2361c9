"""Every failure mode of other receivers that we know of has a test that provokes it.

The list of 46 is section 1 of the design's reference `lessons.md`: what goes wrong in the public receiver of MAX IV.
A test that provokes number n is marked `@pytest.mark.lesson(n)`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LESSONS = range(1, 47)


def marks(path: Path, text: str) -> dict[int, list[str]]:
    """Number > where it is marked: `mark.lesson(n)` on a test, or among the marks of a parameter."""
    found: dict[int, list[str]] = defaultdict(list)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "lesson":
            where = f"{path}, line {node.lineno}"
            (argument,) = node.args if len(node.args) == 1 else (None,)
            if not isinstance(argument, ast.Constant) or type(argument.value) is not int:
                raise AssertionError(f"{where}: lesson takes one number, written out")
            found[argument.value].append(where)
    return found


def all_marks() -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            for number, places in marks(path.relative_to(TESTS), path.read_text()).items():
                found[number] += places
    return found


def test_every_lesson_has_a_test() -> None:
    assert set(all_marks()) == set(LESSONS)


def test_marks_are_found_on_tests_and_on_parameters() -> None:
    text = (
        "import pytest\n@pytest.mark.lesson(3)\ndef test_a(): ...\nX = pytest.param(1, marks=pytest.mark.lesson(4))\n"
    )
    assert sorted(marks(Path("a.py"), text)) == [3, 4]


@pytest.mark.parametrize("call", ["lesson()", "lesson('3')", "lesson(n)", "lesson(1, 2)", "lesson(True)"])
def test_a_mark_without_one_number_is_refused_with_its_place(call: str) -> None:
    with pytest.raises(AssertionError, match=r"a.py, line 2"):
        marks(Path("a.py"), f"import pytest\npytest.mark.{call}\n")
