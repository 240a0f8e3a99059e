"""What a vendor delivers: one run of `ingest` fetches all hostile files and their twins, with an outcome for each."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.redteam.target import Target

_CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: 1.0.0
status: active
team:
  - {{ username: data@vendor.example.com, role: owner }}
customProperties:
  - {{ property: source, value: inbox }}
  - {{ property: files, value: "{name}_*.{suffix}" }}
  - {{ property: format, value: {format} }}
slaProperties:
  - {{ property: retention, value: 7, unit: d }}
  - {{ property: frequency, value: 24, unit: h }}
schema:
  - name: {name}
    properties:
      - name: item_id
        logicalType: string
        required: true
        primaryKey: true
        classification: identifier
        customProperties: [{{ property: egress, value: token }}, {{ property: domain, value: item }}]
      - name: pieces
        logicalType: integer
        classification: operational
        customProperties: [{{ property: egress, value: plain }}]
"""
SECRET_OF_HOST = "laid by nobody: 77b2"
CONTROL_NAME = "list_\x1b]0;owned\x07.csv"


def build_contract(name: str, file_format: str, suffix: str) -> str:
    return _CONTRACT.format(name=name, format=file_format, suffix=suffix)


def _write_parquet(rows: int, value: str) -> bytes:
    file = io.BytesIO()
    table = pa.table({"item_id": [f"{value}-{number}" for number in range(rows)], "pieces": pa.array(range(rows))})
    pq.write_table(table, file)
    return file.getvalue()


def write_repeated_text(rows: int) -> bytes:
    """Write a file in which each row has the same text of 100 kB. The file holds it once, in a dictionary."""
    file = io.BytesIO()
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"item_id": texts, "pieces": pa.nulls(rows, pa.int64())}), file)
    return file.getvalue()


def _write_numbers() -> bytes:
    """Write a file of a few hundred kilobytes whose index says that it decodes to gigabytes."""
    file = io.BytesIO()
    rows = 3_000_000
    table = pa.table({"item_id": pa.repeat(pa.scalar("x"), rows), "pieces": pa.repeat(pa.scalar(1), rows)})
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(34):
            writer.write_table(table)
    return file.getvalue()


def _write_wide_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({f"c{number}": [1] for number in range(10_001)}), file)
    return file.getvalue()


FILES: Mapping[str, bytes] = {
    "list_good.csv": b"item_id,pieces\nA-1,1\nA-2,2\n",
    "list_quote.csv": b'item_id,pieces\nA-3,"' + b"x" * (17 * 2**20) + b"\n",
    "list_ragged.csv": b"item_id,pieces\n" + b"A,1," * 200 + b"\n" + b"A,1,2,3\n" * 200,
    "list_formula.csv": b"item_id,pieces\nA-9,=1+1\nA-10,4\n",
    CONTROL_NAME: b"item_id,pieces\nA-4,1\n",
    "..list_up.csv": b"item_id,pieces\nA-5,1\n",
    "list_" + "n" * 220 + ".csv": b"item_id,pieces\nA-6,1\n",
    "line_good.jsonl": b'{"item_id": "B-1", "pieces": 1}\n',
    "line_deep.jsonl": b'{"item_id": "B-2", "pieces": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "line_keys.jsonl": b"".join(
        json.dumps({"item_id": f"B-{n}", "pieces": 1, f"k{n}": 1}).encode() + b"\n" for n in range(1_500)
    ),
    "cell_good.parquet": _write_parquet(3, "C"),
}
_BUILT = {
    "cell_wide.parquet": _write_wide_parquet,
    "cell_numbers.parquet": _write_numbers,
}
CONTRACTS = {"list": ("csv", "csv"), "line": ("jsonl", "jsonl"), "cell": ("parquet", "parquet")}
_results: dict[int, dict[str, str]] = {}
_first_entries: dict[int, int] = {}


def describe_delivery(target: Target, name: str) -> str:
    """Return what became of a delivered file: its status, and the first reason if it was not published."""
    if id(target) not in _results:
        _first_entries[id(target)] = target.count_entries()
        _results[id(target)] = _deliver_all(target)
    target.first_entry = _first_entries[id(target)]
    return _results[id(target)].get(name, "nothing")


def _deliver_all(target: Target) -> dict[str, str]:
    outbox = target.project.vendor_dir / "outbox"
    for name, (file_format, suffix) in CONTRACTS.items():
        path = target.project.contracts_dir / f"{name}.odcs.yaml"
        path.write_text(build_contract(name, file_format, suffix), encoding="utf-8")
    for name, content in {**FILES, **{name: build() for name, build in _BUILT.items()}}.items():
        (outbox / name).write_bytes(content)
    _lay_links(target, outbox)
    result = target.run("ingest")
    files: list[dict[str, Any]] = result.document["files"] if result.document else []
    outcomes: dict[str, str] = {}
    for file in files:
        reason = file["reasons"][0]["code"] if file["reasons"] and file["status"] != "published" else ""
        outcomes[file["name"]] = f"{file['status']} {reason}".strip()
    target.notes.append(f"the run over hostile drops ended with {result.code}: {outcomes or result.error}")
    return outcomes


def _lay_links(target: Target, outbox: Path) -> None:
    """Lay links in the outbox: to a file that only root may read, and to a file outside."""
    secret = target.create_folder() / "secret.csv"
    secret.write_text(f"item_id,pieces\n{SECRET_OF_HOST},1\n", encoding="utf-8")
    secret.chmod(0o600)
    (outbox / "list_link.csv").symlink_to(secret)
    (outbox / "list_host.csv").symlink_to("/etc/passwd")
    os.mkfifo(outbox / "list_pipe.csv")
