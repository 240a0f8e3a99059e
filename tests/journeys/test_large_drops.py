"""Drops of millions of rows on real servers: their memory is bounded, and their rows are compared with earlier ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.journeys import ProjectFixture, running_project
from tests.builders.order_drops import CONTRACT, write_order_drop
from tests.builders.process_watch import ProcessWatch, watch_processes

pytestmark = pytest.mark.live

MEMORY_LIMIT = 1_500_000_000
SAMPLE_MEMORY_LIMIT = 700_000_000
"""The libraries alone take about half of it."""
LARGE_BYTES = 2 << 30


@pytest.fixture(scope="module")
def orders() -> Iterator[ProjectFixture]:
    with running_project(contracts=[CONTRACT]) as project:
        yield project


def ingest_drop(
    project: ProjectFixture, name: str, rows: int, *, first: int = 0, corrected_every: int = 0
) -> ProcessWatch:
    """Send and ingest one drop, and print what it took."""
    path = project.outbox / name
    write_order_drop(path, rows, first=first, corrected_every=corrected_every)
    with watch_processes(project.project) as watch:
        received = project.ingest()
    path.unlink()
    assert received["files"][name]["account"]["received"] == rows
    print(f"\n{name}: {watch.describe(rows)}")
    return watch


def check_pair(project: ProjectFixture, name: str, rows: int, *, first: int, limit: int) -> None:
    """Ingest a drop, then one of the same rows of which each second is a correction: the others are copies."""
    watches = [
        ingest_drop(project, f"order_line_{name}_1.csv", rows, first=first),
        ingest_drop(project, f"order_line_{name}_2.csv", rows, first=first, corrected_every=2),
    ]
    accounts = project.accounts()
    names = {entry["facts"]["name"]: entry["subject"].removeprefix("drop:") for entry in project.list_entries("land")}
    first_drop, second_drop = (accounts[names[f"order_line_{name}_{number}.csv"]] for number in (1, 2))
    assert first_drop["published"] == rows
    assert (second_drop["published"], second_drop["copies"]) == (rows // 2, rows // 2)
    for watch in watches:
        assert 0 < watch.enclave_peak < limit
        assert 0 < watch.worker_peak < limit


def test_a_drop_and_its_correction_stay_within_the_memory_of_a_sample(orders: ProjectFixture):
    check_pair(orders, "sample", 200_000, first=0, limit=SAMPLE_MEMORY_LIMIT)


@pytest.mark.long
def test_five_million_rows_and_their_correction_stay_within_the_memory_limit(orders: ProjectFixture):
    check_pair(orders, "large", 5_000_000, first=1_000_000, limit=MEMORY_LIMIT)


@pytest.mark.long
def test_a_drop_of_two_gigabytes_stays_within_the_memory_limit(orders: ProjectFixture):
    row_bytes = write_order_drop(orders.root / "measured.csv", 1_000_000, first=10_000_000) / 1_000_000
    rows = int(LARGE_BYTES / row_bytes)
    watch = ingest_drop(orders, "order_line_huge.csv", rows, first=10_000_000)
    assert 0 < watch.enclave_peak < MEMORY_LIMIT
    assert 0 < watch.worker_peak < MEMORY_LIMIT
    assert orders.accounts()
