from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree

import msgspec
from rich.console import Console

from maxdaq_tango.bench.plan import Case, Contestant, Plan
from maxdaq_tango.bench.plot import draw
from maxdaq_tango.bench.report import tables
from maxdaq_tango.bench.results import Machine, Result, Skipped, judge, make_rows
from maxdaq_tango.model import Encoding
from unit.bench.samples import SMALL, turn

MACHINE = Machine(
    processor="a processor", cores=2, memory_bytes=8 << 30, kernel="6.1", python="3.11", software="maxdaq-tango 0",
    file_system="ext4", folder="/data",
)  # fmt: skip


def made_up() -> Result:
    samples = []
    for size in (8_000, 200_000):
        for packing in (Encoding.NONE, Encoding.BSLZ4):
            case = Case(wire_nbytes=size, packing=packing)
            for repeat in range(2):
                samples += [
                    turn(contestant, 100_000_000 / size / (index + 1), repeat, case=case)
                    for index, contestant in enumerate(Plan().blocks()[0].contestants)
                ]
    rows = make_rows(samples)
    return Result(
        started_at="2026-01-01T00:00:00+00:00", machine=MACHINE, plan=Plan(runs=2), rows=rows, targets=judge(rows),
        skipped=(Skipped("200 kB columns", "not yet"),), notes=("a note",), samples=tuple(samples),
    )  # fmt: skip


def printed(result: Result, width: int) -> str:
    shown = io.StringIO()
    Console(file=shown, width=width).print(tables(result))
    return shown.getvalue()


def test_the_report_names_machine_contestants_targets_and_what_is_missing() -> None:
    text = printed(made_up(), 160)
    for words in ("ext4", "200 kB bslz4", "plain", "pull+write", "not yet", "a note", "missed", "holds"):
        assert words in text


def test_a_terminal_of_80_columns_cuts_nothing_off() -> None:
    assert "…" not in printed(made_up(), 80)


def test_a_result_without_our_receiver_has_no_ratios() -> None:
    rows = make_rows([turn(Contestant.PULL, 100)])
    result = msgspec.structs.replace(made_up(), rows=rows, targets=judge(rows))
    assert "over those of" not in printed(result, 120)


def test_the_json_holds_everything_and_can_be_read_back() -> None:
    result = made_up()
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result


def test_the_plot_is_a_drawing_with_a_curve_for_each_contestant_and_packing() -> None:
    root = ElementTree.fromstring(draw(made_up().rows))
    names = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    curves = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(curves) == 2 * 6
    assert names.count("ours") == 2
    assert "frames/s, bslz4" in names


def test_a_plot_of_one_size_can_be_drawn() -> None:
    ElementTree.fromstring(draw(make_rows([turn(Contestant.PULL, 100), turn(Contestant.OURS, 50)])))
    assert SMALL.name == "200 kB"


def test_a_plot_of_nothing_is_empty_and_sound() -> None:
    ElementTree.fromstring(draw(()))
