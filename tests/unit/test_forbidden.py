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
CODE_FROM_TEXT = {"eval", "exec", "compile", "__import__"}
OF_MODULES = {
    *(
        ("yaml", name)
        for name in ("load", "load_all", "unsafe_load", "full_load", "Loader", "UnsafeLoader", "FullLoader")
    ),
    *(("multiprocessing", name) for name in ("Queue", "SimpleQueue", "JoinableQueue", "Pipe", "Manager", "Pool")),
    *(("os", name) for name in ("system", "popen")),
    ("tempfile", "mktemp"),
}
"""By whatever name the module, or the thing itself, was imported."""
PICKLING_CALLS = {"recv_pyobj", "send_pyobj", "recv_serialized", "unsafe_load", "full_load", "get_object"}
"""Of pyzmq and PyYAML; yaml.load is looked at by its module, because `load` is a word of many."""
WITH_A_LOG = {"writers.py", "writer_process.py", "unkillable.py", "listeners.py"}
"""They start, watch and end processes, and say so, or say that a listener has failed; no frame is ever told of."""
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
    modules, parts = {"yaml": "yaml", "multiprocessing": "multiprocessing"}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts |= {(node.module, name.name): name.name for name in node.names}
    yield from (f"{module}.{name}" for module, name in OF_MODULES.intersection(parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            harmless = isinstance(node.value, ast.Constant) and node.value.value is False
            if node.arg in ("allow_pickle", "shell") and not harmless:
                yield node.arg
        elif isinstance(node, ast.Attribute):
            word = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in PICKLING_CALLS or (modules.get(word, word), node.attr) in OF_MODULES:
                yield f"{word}.{node.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CODE_FROM_TEXT:
            yield node.func.id
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and str(node.args[0].value).split(".")[0] in PICKLING
        ):
            yield f"import_module of {node.args[0].value}"


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
        "exec(text)",
        "compile(text, 'a', 'exec')",
        "__import__(name)",
        "import shelve",
        "from yaml import load",
        "import yaml as y\ny.load(text)",
        "from yaml import UnsafeLoader as L",
        "import multiprocessing as mp\nmp.Pipe()",
        "from multiprocessing import Queue",
        "importlib.import_module('pickle')",
        "subprocess.run(text, shell=True)",
        "import os\nos.system(text)",
        "import os as o\no.popen(text)",
    ],
)
def test_pickling_would_be_found(code: str) -> None:
    assert list(pickles(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "json.load(file)",
        "numpy.load(path, allow_pickle=False)",
        "model.eval()",
        "x = 'pickle'",
        "import yaml\nyaml.safe_load(text)",
        "re.compile(text)",
        "subprocess.run([text], shell=False)",
        "zmq.Loader",
        "importlib.import_module(name)",
        "from multiprocessing import shared_memory",
        "numpy.load(path)",
    ],
)
def test_what_is_no_pickling_is_left_alone(code: str) -> None:
    assert not list(pickles(ast.parse(code)))


@pytest.mark.lesson(36)
def test_the_way_of_a_frame_writes_no_log() -> None:
    """A log line costs its arguments even when nobody reads it: what happens to frames is counted."""
    talking = [
        path
        for path, tree in trees(DATA_PATH)
        if Path(path).name not in WITH_A_LOG
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
