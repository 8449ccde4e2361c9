from __future__ import annotations

import io

from rich.console import Console

from maxdaq_tango.cli.receipt_table import receipt_table
from maxdaq_tango.model import Receipt, Verdict


def test_a_long_path_is_broken_into_lines_and_never_cut_short() -> None:
    file = "/data/visitors/" + 60 * "a" + "/scan_000001_eiger.h5"
    receipt = Receipt(verdict=Verdict.COMPLETE, file=file, dataset="/entry/instrument/eiger/data")
    shown = io.StringIO()
    Console(file=shown, width=80).print(receipt_table(receipt))
    cells = [line.split("│")[2].strip() for line in shown.getvalue().splitlines() if line.startswith("│")]
    assert file in "".join(cells)
    assert "…" not in shown.getvalue()
