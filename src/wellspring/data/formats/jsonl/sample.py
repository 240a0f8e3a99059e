"""Read a JSON Lines file that has no contract yet, as text, or describe the error and its line."""

from __future__ import annotations

from pathlib import Path

from wellspring.data.formats.encoding import read_text_blocks
from wellspring.data.formats.jsonl.lines import LINE_FAULTS, LineFault, flatten_object, parse_line
from wellspring.data.formats.jsonl.reader import MAX_UNDECLARED, iterate_lines
from wellspring.data.formats.jsonl.rows import format_value
from wellspring.data.formats.port import FileSample
from wellspring.data.formats.sample import COLUMN_NAME, check_unique_names
from wellspring.errors import ProjectError, Refused
from wellspring.records.content import BytesContent


def read_jsonl_sample(file: Path) -> FileSample:
    """Read a whole file as text. Objects within a line are flattened: the column `a_b` has the path `a.b`."""
    import pyarrow as pa

    try:
        lines = list(iterate_lines(read_text_blocks(BytesContent(file.read_bytes()), "sample")))
    except Refused as exc:
        description = exc.verdict.reasons[0].message if exc.verdict is not None else exc.what
        raise ProjectError(f"{file}: {description}", fix="save it as UTF-8, one JSON object a line") from None
    columns: dict[str, dict[int, str | None]] = {}
    count = 0
    for count, line in enumerate(lines, start=1):
        try:
            entries = list(flatten_object(parse_line(line), None))
        except LineFault as fault:
            raise ProjectError(
                f"{file}: row {count}: {LINE_FAULTS[fault.code]}",
                fix="write one JSON object a line, or remove the line",
            ) from None
        for path, value in entries:
            columns.setdefault(path, {})[count - 1] = format_value(value)
        if len(columns) > MAX_UNDECLARED:
            raise ProjectError(
                f"{file}: it has more than {MAX_UNDECLARED} different keys", fix="write values as values, not as keys"
            )
    if not columns:
        raise ProjectError(f"{file}: its objects have no keys", fix="use a file with rows to infer the contract from")
    names = [_name_column(file, number, path) for number, path in enumerate(columns, start=1)]
    check_unique_names(file, names)
    rows = pa.table(
        [pa.array([values.get(row) for row in range(count)], pa.string()) for values in columns.values()], names=names
    )
    return FileSample(rows, {name: path for name, path in zip(names, columns, strict=True) if name != path})


def _name_column(file: Path, number: int, path: str) -> str:
    """Derive the name of a column from its path. A key that is not a name may be a value, so it is not quoted."""
    if not all(COLUMN_NAME.fullmatch(part) for part in path.split(".")):
        raise ProjectError(
            f"{file}: its key number {number} has characters other than letters, digits and _",
            fix="rename the key, or declare it by hand with `physicalName`",
        )
    return path.replace(".", "_")
