"""A receipt for people."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from maxdaq_tango.model import Receipt, Verdict

_COLOURS = {Verdict.COMPLETE: "green", Verdict.INCOMPLETE: "yellow", Verdict.ABORTED: "yellow", Verdict.FAILED: "red"}
_SHOWN_RANGES = 8


def receipt_table(receipt: Receipt) -> Table:
    """Verdict first, then the counts that are not zero, then where the data are."""
    table = Table(title="Receipt", show_header=False, title_style="bold")
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")  # a path that ends in ... cannot be copied
    table.add_row("verdict", Text(receipt.verdict.value, style=f"bold {_COLOURS[receipt.verdict]}"))
    for reason in receipt.reasons:
        table.add_row("because", Text(reason))
    table.add_row("series", receipt.series or "-")
    expected = "not told" if receipt.frames_expected is None else str(receipt.frames_expected)
    table.add_row("frames expected", expected)
    table.add_row("received", str(receipt.frames_received))
    table.add_row("written", str(receipt.frames_written))
    missing = str(receipt.frames_missing_count)
    if receipt.frames_missing_count:
        shown = [f"{low}" if low == high else f"{low}-{high}" for low, high in receipt.frames_missing_ranges]
        more = ", ..." if len(shown) > _SHOWN_RANGES else ""
        missing += f" ({', '.join(shown[:_SHOWN_RANGES])}{more})"
    table.add_row("missing", missing)
    for name, count in (
        ("discarded", receipt.frames_discarded),
        ("duplicate", receipt.frames_duplicate),
        ("conflicting", receipt.frames_conflicting),
        ("corrupt", receipt.frames_corrupt),
        ("without all modules", receipt.frames_partial),
        ("late", receipt.frames_late),
        ("lost", max(receipt.frames_lost_count, len(receipt.frames_lost))),
        ("unexpected", receipt.frames_unexpected),
        ("out of series", receipt.frames_out_of_series),
    ):
        if count:
            table.add_row(name, str(count))
    if receipt.seconds > 0:
        frames_hz = receipt.frames_received / receipt.seconds
        mbytes_s = receipt.bytes_received / receipt.seconds / 1e6
        table.add_row("rate", f"{frames_hz:.0f} frames/s, {mbytes_s:.1f} MB/s over {receipt.seconds:.2f} s")
    if receipt.file:
        table.add_row("file", Text(receipt.file))
        shape = " x ".join(str(size) for size in receipt.shape)
        table.add_row("dataset", Text(f"{receipt.dataset}  {shape} {receipt.dtype}, {receipt.encoding}"))
    return table
