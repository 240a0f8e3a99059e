"""The `vault` commands: counts by domain, and what a backfill read."""

from __future__ import annotations

from pathlib import Path

from tests.builders.command_line import Run, StubWorker
from wellspring.cli import vault as module


def test_persons_are_counted_by_domain(run: Run, root: Path, stub_worker: StubWorker):
    counts = {"rows": {"member": 7, "person": 1200}, "unread_drops": ["d1"]}
    calls = stub_worker(module, counts)
    output = run("vault", "status", "--project", root)
    assert (output.code, calls) == (0, [("person-counts", None)])
    assert [line.split() for line in output.out.splitlines()[-4:-2]] == [["member", "7"], ["person", "1,200"]]
    assert output.out.splitlines()[-2:] == [
        "1 drops were not read for their persons",
        "next: wellspring vault backfill",
    ]
    assert run("vault", "status", "--json", "--project", root).document == counts


def test_without_a_person_column_the_command_says_how_to_name_one(run: Run, root: Path, stub_worker: StubWorker):
    stub_worker(module, {"rows": {}, "unread_drops": []})
    output = run("vault", "status", "--project", root)
    assert "`person`" in output.out
    assert output.out.splitlines()[-1] == "next: wellspring status"


def test_a_backfill_says_what_each_drop_added(run: Run, root: Path, stub_worker: StubWorker):
    result = {"drops": {"d1": 1200}, "rows": {"person": 1200}}
    calls = stub_worker(module, result)
    output = run("vault", "backfill", "--project", root)
    assert (output.code, calls) == (0, [("backfill", None)])
    assert output.out.splitlines()[0] == "d1: 1,200 new person rows"
    assert run("vault", "backfill", "--json", "--project", root).document == result
