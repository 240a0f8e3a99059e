"""One trace from a command through the worker and the enclave, on the real servers."""

from __future__ import annotations

from typing import Any

import pytest

from examples.health_plan import drops, population
from tests.builders.journeys import ProjectFixture

pytestmark = pytest.mark.live

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def list_entries(project: ProjectFixture, trace: str) -> list[dict[str, Any]]:
    """List the entries of the ledger with this trace."""
    tail = project.run("ledger", "tail", "-n", "100000", "--json").document
    return [entry for entry in tail if entry["trace"] == trace]


def test_the_trace_of_a_command_is_on_its_job_and_on_each_entry_of_it(
    project: ProjectFixture, monkeypatch: pytest.MonkeyPatch
):
    claims = population.claims(40, 1, people=drops.people(200), first=40)
    population.write_csv(claims, project.outbox / "medical_claim_0001.csv")
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-00f067aa0ba902b7-01")
    job = project.run("run", "ingest", "clearinghouse", "--json").document
    assert (job["state"], job["trace"]) == ("succeeded", TRACE)
    monkeypatch.delenv("TRACEPARENT")
    entries = list_entries(project, TRACE)
    assert {entry["service"].partition("-")[0] for entry in entries} == {"worker", "enclave"}
    assert {"land", "admit", "publish"} <= {entry["action"] for entry in entries}
    own_entries = [entry for entry in entries if "job" in entry["facts"]]
    assert {entry["facts"]["job"] for entry in own_entries} == {job["id"]}
    later_job = project.run("run", "ingest", "clearinghouse", "--json").document
    assert later_job["trace"] != TRACE
    assert list_entries(project, TRACE) == entries
