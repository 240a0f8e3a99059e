"""Many small drops of a set behind a stopped one: published in one run after its repair; an idle run stays fast."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.builders.journeys import ProjectFixture, running_project
from tests.builders.order_drops import CONTRACT, write_order_drop
from tests.builders.process_watch import watch_processes
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.vault.remote import EnclaveClient

pytestmark = pytest.mark.live

TABLES = ("order_line", "invoice_line", "shipment_line", "refund_line")
ROWS = 12
FEW = 10
MAX_EDITIONS = 20
MAX_IDLE_RATIO = 1.5


@pytest.fixture
def orders() -> Iterator[ProjectFixture]:
    with running_project(
        contracts=[CONTRACT.replace("order_line", name) for name in (*TABLES, "return_line")]
    ) as project:
        yield project


@pytest.mark.parametrize("count", [pytest.param(24, id="sample"), pytest.param(1000, id="all", marks=pytest.mark.long)])
def test_drops_behind_a_stopped_one_are_published_in_one_run(orders: ProjectFixture, count: int):
    for number in range(FEW):
        send(orders, number)
    orders.ingest()
    idle_before = measure_idle_run(orders)
    (orders.outbox / "return_line_stopped.csv").write_text("order_id,line_number\nORD0000000001,1\n")
    assert orders.ingest(code=75)["files"]["return_line_stopped.csv"]["status"] == "stopped"
    for number in range(FEW, FEW + count):
        send(orders, number)
    started = time.perf_counter()
    waiting = orders.ingest(code=75)
    ingest_seconds = time.perf_counter() - started
    assert {outcome["status"] for outcome in waiting["files"].values()} == {"waiting"}
    published = count_editions(orders)
    write_order_drop(orders.outbox / "return_line_repaired.csv", ROWS)
    started = time.perf_counter()
    received = orders.ingest()
    publish_seconds = time.perf_counter() - started
    assert len(received["files"]) == count + 1
    assert {outcome["status"] for outcome in received["files"].values()} == {"published"}
    editions = count_editions(orders) - published
    accounts = orders.accounts()
    assert sum(account["published"] for account in accounts.values()) == (FEW + count + 1) * ROWS
    assert {account["waiting"] for account in accounts.values()} == {0}
    idle_after = measure_idle_run(orders)
    print(
        f"\n{count} drops of {ROWS} rows: ingested in {ingest_seconds:.1f} s, published in {publish_seconds:.1f} s, "
        f"{editions} editions; CPU of an idle run without the listing: {idle_before:.2f} s after {FEW} drops, "
        f"{idle_after:.2f} s now"
    )
    assert editions <= MAX_EDITIONS
    assert idle_after <= MAX_IDLE_RATIO * idle_before


def count_editions(project: ProjectFixture) -> int:
    return sum(entry["phase"] == "done" for entry in project.list_entries("publish", level="landed"))


def send(project: ProjectFixture, number: int) -> None:
    name = TABLES[number % len(TABLES)]
    write_order_drop(project.outbox / f"{name}_{number:04d}.csv", ROWS, first=number * ROWS)


def measure_idle_run(project: ProjectFixture) -> float:
    """Return the CPU seconds of a run that finds nothing, less those that the listing of the source takes.

    Of the enclave and of the worker: what the other processes of the machine do changes the wall time only.
    """
    client = EnclaveClient(find_server_socket(project.project, "intake"))
    runs, listings = list[float](), list[float]()
    for _ in range(3):
        with watch_processes(project.project) as listing:
            client.list_files("clearinghouse")
        with watch_processes(project.project) as run:
            assert project.run("ingest").code == 3
        listings.append(listing.enclave_cpu)
        runs.append(run.enclave_cpu + run.worker_cpu)
    print(
        f"\nidle run: {run.seconds:.2f} s, CPU {min(runs):.2f} s, of which the listing takes {min(listings):.2f} s "
        f"({listing.seconds:.2f} s)"
    )
    return min(runs) - min(listings)
