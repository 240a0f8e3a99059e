"""Where chance comes from, and how columns are laid out: one generator for each named column, the same on any machine.

Only whole numbers and uniform shares are drawn: what else a generator offers goes through a C library's exponentials,
whose last bit is not the same everywhere.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

pc: Any = pyarrow.compute  # its functions are made at run time, so no checker knows them

VERSION = 2
"""Part of every seed: a change that moves any value makes a new version, never a quiet one."""

DAY = 86_400
NEVER = 2**40
"""A day, or a second, after all others."""


class Draw:
    """One random generator for each named column."""

    def __init__(self, seed: int, table: str) -> None:
        self._root = (VERSION, seed, zlib.crc32(table.encode()))

    def generator(self, column: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._root, zlib.crc32(column.encode())])))

    def whole(self, column: str, count: int, low: int, high: int) -> Ints:
        return self.generator(column).integers(low, high, count)

    def share(self, column: str, count: int) -> NDArray[np.float64]:
        return self.generator(column).random(count)

    def pick(self, column: str, count: int, weights: Sequence[float]) -> Ints:
        return np.searchsorted(np.cumsum(weights)[:-1], self.share(column, count), side="right").astype(np.int64)

    def of(self, column: str, count: int, words: Sequence[str]) -> pa.Array:
        return pa.array(list(words)).take(pa.array(self.whole(column, count, 0, len(words))))

    def spread(self, column: str, count: int, space: int) -> Ints:
        """Return `count` distinct numbers below `space` in no visible order: a walk by a prime step."""
        return (np.arange(count) * 15_485_863 + int(self.whole(column, 1, 0, space)[0])) % space

    def bell(self, column: str, count: int, deviation: int) -> Ints:
        """Return whole numbers around zero, in the shape of a bell: the sum of four uniform ones."""
        four = self.generator(column).integers(-1000, 1001, (4, count))
        return (four[0] + four[1] + four[2] + four[3]) * deviation // 1155


def days(text: str) -> int:
    """Count the days from 1970 to a date, or to the first day of a month."""
    return int(np.datetime64(text, "D").astype(np.int64))


def month_of(day: Ints) -> Ints:
    """Count the months from 1970 to each day's month."""
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def take_at(values: Ints, index: Ints) -> pa.Array:
    """Lay picked values out."""
    return pa.array(values[index])


def words(list_: Sequence[str], index: Ints) -> pa.Array:
    """Look words up; a negative index is null."""
    column = pa.array(list(list_)).take(pa.array(np.maximum(index, 0)))
    return hide(column, index < 0) if len(index) and int(index.min()) < 0 else column


def text(numbers: Ints) -> pa.Array:
    """Write numbers in plain digits."""
    return pa.array(numbers).cast(pa.string())


def digits(numbers: Ints, width: int) -> pa.Array:
    """Write numbers with leading zeros."""
    return pc.utf8_lpad(text(numbers), width, "0")


def join(*parts: Any) -> pa.Array:
    """Put texts one after the other, row by row."""
    return pc.binary_join_element_wise(*parts, "")


def hide(values: pa.Array, hidden: Bools) -> pa.Array:
    """Empty the marked rows."""
    return pc.if_else(pa.array(hidden), pa.scalar(None, values.type), values)


def dates(day: Ints) -> pa.Array:
    """Lay days since 1970 out as dates; NEVER is null."""
    gone = day >= NEVER
    column = pa.array(np.where(gone, 0, day).astype(np.int32)).view(pa.date32())
    return hide(column, gone) if gone.any() else column


def instants(second: Ints) -> pa.Array:
    """Lay seconds since 1970 out as instants in UTC."""
    return pa.array(second * 1_000_000).view(pa.timestamp("us", "UTC"))


def decimal(cents: Ints) -> pa.Array:
    """Lay non-negative cents out as decimal128(12, 2): sixteen little-endian bytes each."""
    halves = np.zeros((len(cents), 2), dtype="<i8")
    halves[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(halves.tobytes())])
