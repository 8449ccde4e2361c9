"""The stored inputs, the mutations and the runner of the fuzzer itself."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import run
from fuzz.cbor_items import items
from fuzz.message import module_must_hold, must_hold, packed, unpacked
from fuzz.targets import NAMES, dectris_v1, dectris_v2, lambda_modules, sls_json, stins, target

CORPUS = Path(__file__).parent / "corpus"
STORED = sorted(path for path in CORPUS.rglob("*") if path.is_file())
MESSAGES = {"stins": stins, "dectris_v1": dectris_v1, "dectris_v2": dectris_v2}


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_stored_or_found_once_is_an_event_or_a_wire_error(path: Path) -> None:
    target(path.parent.name).one(path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_inputs_are_those_that_our_encoders_make_today(name: str) -> None:
    assert {path.name for path in (CORPUS / name).iterdir()} >= set(target(name).seeds())


@pytest.mark.parametrize("name", MESSAGES)
def test_the_inputs_from_which_a_fuzzer_starts_are_good_messages(name: str) -> None:
    module = MESSAGES[name]
    for seed, data in module.seeds().items():
        if seed != "image-mono12p":  # which is unpacked elsewhere
            assert must_hold(module.DECODER, data), seed


@pytest.mark.parametrize("module", [lambda_modules, sls_json])
def test_the_inputs_of_single_modules_are_good_messages(module: Any) -> None:
    for seed, data in module.seeds().items():
        assert module_must_hold(module.DECODER, data), seed


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_a_message_is_an_input_and_an_input_a_message(parts: list[bytes]) -> None:
    assert unpacked(packed(parts)) == parts


@given(st.binary(max_size=200))
def test_any_input_is_a_message(data: bytes) -> None:
    assert sum(map(len, unpacked(data))) <= len(data)


@pytest.mark.parametrize("name", NAMES)
def test_mutations_are_bytes_of_all_kinds_and_the_same_for_the_same_seed(name: str) -> None:
    chosen = target(name)

    def mutate(data: bytes, seed: int) -> bytes:
        chance = random.Random(seed)

        def plain(content: bytes, most: int) -> bytes:
            at = chance.randint(0, len(content))
            return (content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :])[:most]

        return chosen.mutated(data, 4096, chance, plain)

    for data in chosen.seeds().values():
        changed = [mutate(data, seed) for seed in range(60)]
        assert changed == [mutate(data, seed) for seed in range(60)]
        assert len(set(changed)) > 30
        again = data
        for seed in range(60):
            again = mutate(again, seed)[:4096]
            chosen.one(again)


def test_the_items_of_a_cbor_text_are_found_with_their_ends() -> None:
    value = {"type": "image", "n": [1, -2, 300, b"x" * 30, None, 0.5], "t": cbor2.CBORTag(40, [[2], b"ab"])}
    text = cbor2.dumps(value)
    found = items(text)
    assert found[-1][2] == 0
    assert found[-1].end == len(text)
    slices = [text[item.start : item.end] for item in found]
    for inner in (value["n"], "n", b"x" * 30, value["t"], [2], 0.5, None, value):
        assert cbor2.dumps(inner) in slices


@given(st.binary(max_size=100))
def test_items_are_looked_for_in_any_bytes(data: bytes) -> None:
    assert all(0 <= item.start < item.content <= item.end <= len(data) for item in items(data))


# -- the runner ----------------------------------------------------------------------------------------------------

DEFECTS = {
    "crash": ("raise KeyError('planted')", "KeyError: 'planted'"),
    "segmentation fault": ("ctypes.string_at(0)", "deadly signal"),
    "hang": ("while True: pass", "timeout"),
    "memory": ("kept.append(b'x' * (300 << 20))", "MemoryError"),
    "memory for a moment": ("bytearray(300 << 20)", "MemoryError"),
    "memory, and nothing said": ("hidden(bytearray, 1 << 40)", "more memory was asked for than there is"),
}
PLANTED = """
import ctypes, sys
sys.path.insert(0, {folder!r})
import child
import fuzz.targets.stins as stins
from fuzz.message import must_be_readable
from maxdaq_tango.errors import WireError

good, kept = set(stins.seeds().values()), []

def hidden(kind, size):
    try:
        kind(size)
    except MemoryError as error:
        refused = WireError("unpack")
        refused.__cause__ = error
        must_be_readable(refused)

def one(data):
    if data and data not in good:
        {defect}

stins.one = one
child.main()
"""


@pytest.fixture
def has_atheris() -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python and machine")


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_found_and_its_input_kept(
    has_atheris: None, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defect, said = DEFECTS[kind]
    child = tmp_path / "planted.py"
    child.write_text(PLANTED.format(folder=str(Path(run.__file__).parent), defect=defect))
    findings = tmp_path / "findings"
    limit = ["--timeout", "1" if kind == "hang" else "60"]
    arguments = ["--target", "stins", "--seconds", "100", *limit, "--json", "--findings", str(findings)]
    assert run.main([*arguments, "--child", str(child)]) == 1
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    (finding,) = outcome["findings"]
    assert said in finding["what"]
    assert finding["kind"] == ("hang" if kind == "hang" else "crash")
    kept = Path(finding["input"])
    assert kept.read_bytes() not in ({b""} | set(stins.seeds().values()))
    assert run.main(["--target", "stins", "--input", str(kept), *limit, "--child", str(child)]) == 1
    capsys.readouterr()
    assert run.main(["--target", "stins", "--input", str(kept)]) == 0


def test_a_run_without_a_finding_tells_how_many_inputs_and_leaves_nothing(
    has_atheris: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    findings, corpus = tmp_path / "findings", tmp_path / "corpus"
    arguments = ["--target", "capture", "--runs", "500", "--seed", "3", "--jobs", "2", "--json"]
    assert run.main([*arguments, "--findings", str(findings), "--corpus", str(corpus)]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome["runs"] >= 500
    assert outcome["runs_per_s"] > 0
    assert outcome["peak_mib"] > 0
    assert outcome["new_inputs"] == len(list((corpus / "capture").iterdir())) > 0
    assert not list(findings.iterdir())


def test_a_fuzzer_that_does_not_start_is_no_success(
    has_atheris: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = tmp_path / "broken.py"
    child.write_text("import sys; sys.exit('no such thing')")
    assert run.main(["--target", "stins", "--child", str(child), "--findings", str(tmp_path / "findings")]) == 2
    assert "no such thing" in capsys.readouterr().out


def test_without_atheris_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    assert run.main(["--target", "stins"]) == 0
    assert "skipped: atheris is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--input", "x"], ["--jobs", "0"], ["--target", "nobody"]])
def test_what_is_asked_wrongly_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(arguments)
    assert ended.value.code == 2
