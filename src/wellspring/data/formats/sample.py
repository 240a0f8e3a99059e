"""Check the column names of a file that has no contract yet, and stand in for its contract."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from wellspring.data.formats.parsed import RESERVED_COLUMNS
from wellspring.errors import ProjectError
from wellspring.records.clock import SystemClock
from wellspring.records.contracts import ContractColumn, DataContract

COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
VALUE_LIKE = re.compile(r"[-+]?[0-9][-0-9.,:/ TZ+]*|.*@.*|")
"""A name that looks like a value is not quoted in an error."""


def placeholder_contract(file_format: str, column_count: int) -> DataContract:
    """Return a contract of a format for a file without one. column_count: the columns 0, 1, ... that it declares."""
    return DataContract(
        tenant="nobody", known_since=SystemClock().now(), name="draft", version="0.0.0",
        digest=hashlib.sha256(b"").hexdigest(), source="draft", files="*", format=file_format, owner="nobody",
        contact="nobody",
        columns=tuple(
            ContractColumn(name=f"{number}", type="string", egress="never", classification="")
            for number in range(column_count)
        ),
    )  # fmt: skip


def check_unique_names(file: Path, names: Sequence[str]) -> None:
    """Raise ProjectError if two columns differ only in case, or one has a name that wellspring reserves."""
    if len({name.casefold() for name in names}) < len(names):
        raise ProjectError(f"{file}: two of its columns have the same name", fix="name each column once")
    if reserved := sorted(RESERVED_COLUMNS & {name.casefold() for name in names}):
        raise ProjectError(
            f"{file}: the column name {reserved[0]} is reserved by wellspring", fix="give the column another name"
        )
