"""Both processes are frozen: their tables and their truth are these, to the byte, on any machine.

They were frozen before the first model was trained. Whoever must change one makes a new VERSION beside it, with a
digest of its own, and figures are then told for both; no digest here is ever edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pyarrow as pa
import pytest

from examples.health_plan import drops, population, process
from tests.builders import second_process

FIRST = "635a7b686cbda0f3732f718d15ce363ef0bd431a91fc831b0b13cf05d3aa32aa"
SECOND = "b6b1991dbe2366ad9fd223f5bb13f44f583519255ba2c590e0f68978238195c4"
DEMO = "fa55e027e0e336c2fcf43240ea7caa2b5bb2fb3572ff6a0c14d974fdefbd941b"


def test_the_version_is_the_one_that_was_frozen() -> None:
    assert population.VERSION == 2


@pytest.mark.parametrize(
    ("make", "digest"), [(process.history, FIRST), (second_process.history, SECOND)], ids=["first", "second"]
)
def test_a_process_is_the_one_that_was_frozen(make: Callable[..., process.History], digest: str) -> None:
    assert digest_of(make(900, 9000, 11, months=9, until="2026-04")) == digest


def test_the_history_of_the_demo_is_the_one_that_was_frozen() -> None:
    assert hashlib.sha256(canonical("truth", drops.truth())).hexdigest() == DEMO


def digest_of(history: process.History) -> str:
    return hashlib.sha256(b"".join(canonical(*named) for named in history._asdict().items())).hexdigest()


def canonical(name: str, table: pa.Table) -> bytes:
    """Write a table in bytes that depend on no library's version: each column's name, type and values as text."""
    lines = [f"table {name} {table.num_rows}"]
    for column in table.column_names:
        values = table[column]
        if pa.types.is_floating(values.type):
            texts = [value.hex() for value in values.to_pylist()]
        else:
            texts = ["~" if value is None else value for value in values.cast(pa.string()).to_pylist()]
        lines += [f"column {column} {values.type}", *texts]
    return "\n".join(lines).encode() + b"\n"
