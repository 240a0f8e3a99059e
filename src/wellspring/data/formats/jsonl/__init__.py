"""JSON Lines: one JSON object a line, as APIs and event streams write it."""

from wellspring.data.formats.jsonl.lines import LINE_FAULTS
from wellspring.data.formats.jsonl.reader import count_jsonl_rows, read_jsonl
from wellspring.data.formats.jsonl.sample import read_jsonl_sample
from wellspring.data.formats.port import FileFormat

JSONL = FileFormat(
    read_jsonl,
    count_jsonl_rows,
    read_jsonl_sample,
    suffixes=(".jsonl", ".ndjson"),
    row_faults=LINE_FAULTS,
    has_paths=True,
)
