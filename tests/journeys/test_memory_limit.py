"""A drop that would need more memory than the enclave may use is rejected before, and the other drops go on."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders.journeys import ProjectFixture, running_project

pytestmark = [pytest.mark.live, pytest.mark.slow]

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: order
name: order
version: 1.0.0
status: active
team:
  - { username: orders@vendor.example.com, role: owner }
customProperties:
  - { property: source, value: clearinghouse }
  - { property: files, value: "order_*.parquet" }
  - { property: format, value: parquet }
slaProperties:
  - { property: retention, value: 7, unit: d }
  - { property: frequency, value: 24, unit: h }
schema:
  - name: order
    properties:
      - name: order_id
        logicalType: string
        required: true
        primaryKey: true
        classification: identifier
        customProperties: [{ property: egress, value: token }, { property: domain, value: order }]
      - name: note
        logicalType: string
        classification: free_text
        customProperties: [{ property: egress, value: masked }]
"""
ROWS = 60_000


def send_drop(project: ProjectFixture, name: str, note: str) -> int:
    """Send a drop in which each row has the same note; return its bytes."""
    part = project.outbox / f"{name}.part"
    columns = {"order_id": [f"{name}-{number}" for number in range(ROWS)], "note": [note] * ROWS}
    pq.write_table(pa.table(columns), part)
    part.rename(project.outbox / name)
    return (project.outbox / name).stat().st_size


def test_a_drop_that_would_need_too_much_memory_is_rejected_and_the_next_one_is_published():
    with running_project(contracts=[CONTRACT]) as project:
        path = project.root / "wellspring.toml"
        path.write_text(f"{path.read_text()}\n[enclave]\nmemory_mb = 1024\n")
        assert project.run("restart", "enclave").code == 0
        # A text that the file has once, and that each row refers to: 1.4 GB in a few hundred kilobytes.
        assert send_drop(project, "order_1.parquet", "routine delivery. " * 1_300) < 2**20
        assert project.run("ingest").code == 75
        (rejected,) = project.list_entries("admit")
        assert rejected["facts"]["outcome"] == "fail"
        assert [reason["code"] for reason in rejected["facts"]["reasons"]] == ["over_budget"]
        send_drop(project, "order_2.parquet", "routine delivery")
        assert project.ingest()["files"]["order_2.parquet"]["account"]["published"] == ROWS
