"""What may not be in the code at all, because other receivers came to grief over it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "maxdaq_tango"
ALL = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
DATA_PATH = [
    path for room in ("wire", "kernels", "files", "pipeline") for path in sorted((PACKAGE / room).rglob("*.py"))
]

PICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
PICKLING_CALLS = {"recv_pyobj", "send_pyobj", "recv_serialized", "unsafe_load", "full_load", "get_object"}
"""Of pyzmq and PyYAML; yaml.load is looked at by its module, because `load` is a word of many."""
PROCESS_LIFE = {"writers.py", "writer_process.py"}
"""They start, watch and end processes, and say so; frames pass through shared memory and are never told of."""
SENDING = {"PUSH", "PUB", "XPUB", "REP", "REQ", "ROUTER", "DEALER", "PAIR"}


def trees(paths: list[Path]) -> Iterator[tuple[str, ast.Module]]:
    assert len(paths) > 10
    for path in paths:
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """First words of all that is imported, anywhere in the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def pickles(tree: ast.AST) -> Iterator[str]:
    """Everything by which bytes from outside could become code."""
    yield from PICKLING.intersection(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                yield "allow_pickle"
        elif isinstance(node, ast.Attribute):
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in PICKLING_CALLS or (module, node.attr) in {
                ("yaml", "load"),
                ("multiprocessing", "Queue"),
                ("multiprocessing", "Pipe"),
            }:
                yield f"{module}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            yield node.func.id


@pytest.mark.lesson(38)
def test_nothing_is_pickled_anywhere() -> None:
    assert [(path, found) for path, tree in trees(ALL) for found in pickles(tree)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from marshal import loads",
        "def f():\n    import dill.source",
        "socket.recv_pyobj()",
        "numpy.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=chosen)",
        "yaml.load(text)",
        "multiprocessing.Queue()",
        "eval(text)",
    ],
)
def test_pickling_would_be_found(code: str) -> None:
    assert list(pickles(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["json.load(file)", "numpy.load(path, allow_pickle=False)", "model.eval()", "x = 'pickle'"]
)
def test_what_is_no_pickling_is_left_alone(code: str) -> None:
    assert not list(pickles(ast.parse(code)))


@pytest.mark.lesson(36)
def test_the_way_of_a_frame_writes_no_log() -> None:
    """A log line costs its arguments even when nobody reads it: what happens to frames is counted."""
    talking = [
        path
        for path, tree in trees(DATA_PATH)
        if Path(path).name not in PROCESS_LIFE
        and (
            {"logging", "warnings", "loguru"}.intersection(imported(tree))
            or any(
                isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
                for n in ast.walk(tree)
            )
        )
    ]
    assert talking == []


@pytest.mark.lesson(22)
@pytest.mark.lesson(23)
def test_the_way_of_a_frame_to_the_file_sends_to_nobody() -> None:
    """What sends can be stopped by whoever does not read: a forwarder or a preview has to stand beside the pipeline,
    and whoever adds one provokes a reader that is slow, and one that leaves between the check and the sending.
    """
    sending = [
        (path, node.attr)
        for path, tree in trees(DATA_PATH)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in SENDING and getattr(node.value, "id", "") == "zmq"
    ]
    assert sending == []
