"""Modules put into one picture: each turned by quarters and copied to its place.

Source: what MAX IV's readers do (maxiv-science/DanMAX_jupyter_scripts, `offlineAzint/pipeline.py`): a canvas of
`full_shape`, and `rot90(module, -rotation / 90)` at row `y`, column `x`. Where two overlap the later one is on top.

Compiled by numba when it is first needed, without the GIL; `place_with_numpy` is its twin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

TILE = 32
"""Pixels of a side that are turned together: a column of the module is a row of the picture, and lines of the cache
would be read again for every pixel."""


def place_module(module: npt.NDArray[Any], canvas: npt.NDArray[Any], row: int, column: int, turns: int) -> None:
    """Copy `module`, turned `turns` quarters clockwise, to where its upper left corner is `row`, `column`.

    Both have two dimensions, in C order, and the same type. ValueError when it does not lie inside the canvas.
    """
    _check(module, canvas, row, column, turns)
    unsigned = f"u{module.dtype.itemsize}"
    _compiled(module.dtype.itemsize)(module.view(unsigned), canvas.view(unsigned), row, column, turns % 4)


def place_with_numpy(module: npt.NDArray[Any], canvas: npt.NDArray[Any], row: int, column: int, turns: int) -> None:
    """`place_module`, without compiling anything."""
    _check(module, canvas, row, column, turns)
    turned = np.rot90(module, -turns)
    canvas[row : row + turned.shape[0], column : column + turned.shape[1]] = turned


def _check(module: npt.NDArray[Any], canvas: npt.NDArray[Any], row: int, column: int, turns: int) -> None:
    rows, columns = module.shape[::-1] if turns % 2 else module.shape
    inside = 0 <= row <= canvas.shape[0] - rows and 0 <= column <= canvas.shape[1] - columns
    if not inside or module.dtype != canvas.dtype:
        raise ValueError(
            f"{rows} x {columns} pixels of {module.dtype} at row {row}, column {column} do not fit into "
            f"{canvas.shape[0]} x {canvas.shape[1]} of {canvas.dtype}"
        )


@cache
def _compiled(item: int) -> Callable[..., None]:
    import numba

    kind = numba.from_dtype(np.dtype(f"u{item}"))
    arrays = [numba.types.Array(kind, 2, "C", readonly=readonly) for readonly in (False, True)]
    place = numba.int64
    compiled: Any = numba.njit([numba.void(array, kind[:, ::1], place, place, place) for array in arrays], nogil=True)(
        _place
    )
    return compiled  # type: ignore[no-any-return]


def _place(module: Any, canvas: Any, row: Any, column: Any, turns: Any) -> None:
    rows, columns = module.shape
    for top in range(0, rows, TILE):
        bottom = min(rows, top + TILE)
        for left in range(0, columns, TILE):
            right = min(columns, left + TILE)
            if turns == 0:
                for r in range(top, bottom):
                    for c in range(left, right):
                        canvas[row + r, column + c] = module[r, c]
            elif turns == 1:
                for c in range(left, right):
                    for r in range(top, bottom):
                        canvas[row + c, column + rows - 1 - r] = module[r, c]
            elif turns == 2:
                for r in range(top, bottom):
                    for c in range(left, right):
                        canvas[row + rows - 1 - r, column + columns - 1 - c] = module[r, c]
            else:
                for c in range(left, right):
                    for r in range(top, bottom):
                        canvas[row + columns - 1 - c, column + r] = module[r, c]
