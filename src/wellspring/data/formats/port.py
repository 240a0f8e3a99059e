"""Define a file format: how the content of a drop becomes batches of rows, and what a contract may set for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wellspring.data.formats.parsed import ParsedBatch
from wellspring.records.content import FileContent
from wellspring.records.contracts import DataContract

if TYPE_CHECKING:
    import pyarrow as pa


class RowReader(Protocol):
    """Read a file as a stream of batches."""

    def __call__(
        self, content: FileContent, contract: DataContract, *, subject: str | None = None
    ) -> Iterator[ParsedBatch]:
        """Yield the rows as delivered, each with its number in the file and its fault, in bounded batches.

        subject: the subject of the verdict of a refusal (default: the contract). Raises Refused with a Verdict for a
        file that cannot be read safely (`parsed.file_refused`), at any point, also after the last batch: no row counts
        until the iterator has ended. No message quotes the file. What depends on all rows is kept as counters, so that
        the memory in use does not grow with the file.
        """
        ...


class FileSample(NamedTuple):
    """A file without a contract. rows: as text. paths: by column name, for each column that has another name in the
    file. settings: those that a contract for such files must declare, because the file is not of the default dialect.
    """

    rows: pa.Table
    paths: Mapping[str, str]
    settings: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class FileFormat:
    """One format, registered as an entry point of the group `wellspring.formats` under the name that contracts use.

    count_rows: the rows of a file that was rejected whole, for its row account; 0 if they cannot be counted.
    read_sample: read a file that has no contract; raises ProjectError, which never quotes a value of a row.
    suffixes: of file names, for `wellspring new contract`. settings: custom properties of a contract, each with its
    valid values. row_faults: the message of each fault that its reader sets. has_paths: a column may name a nested
    value by `physicalName: a.b`.
    """

    read_rows: RowReader
    count_rows: Callable[[FileContent, DataContract], int]
    read_sample: Callable[[Path], FileSample]
    suffixes: tuple[str, ...]
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    row_faults: Mapping[str, str] = field(default_factory=dict[str, str])
    has_paths: bool = False
