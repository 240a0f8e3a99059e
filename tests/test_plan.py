"""Which jobs run when, after what: each scheduled run once, the missed ones together, whatever the clock does."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring.errors import ProjectError
from wellspring.plan import Plan, PlannedJob, build_plan
from wellspring.project import PROJECT_FILE, load_project
from wellspring.settings import JobSettings

HEAD = '[project]\nname = "tiny"\ntenant = "acme"\n[sources.clearinghouse]\nkind = "sftp"\n'
JOBS = """
[jobs.claims]
kind = "ingest"
subject = "clearinghouse"
schedule = "30 1 * * *"
sla = "2h"

[jobs.train_denials]
kind = "train"
subject = "denials"
after = ["tables"]
schedule = "0 6 * * 1"
timezone = "America/Chicago"

[jobs.tables]
kind = "transform"
after = ["claims"]
"""


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def read(folder: Path, jobs: str) -> Plan:
    (folder / PROJECT_FILE).write_text(HEAD + jobs)
    return build_plan(load_project(folder, environ={}))


def test_jobs_stand_after_those_that_they_follow(tmp_path: Path):
    plan = read(tmp_path, JOBS)
    assert list(plan.jobs) == ["claims", "tables", "train_denials"]
    assert plan.jobs["claims"].settings.sla == timedelta(hours=2)
    assert plan.jobs["train_denials"].trigger == "0 6 * * 1 America/Chicago; after tables"


def test_a_run_is_due_once_and_missed_ones_are_counted(tmp_path: Path):
    plan = read(tmp_path, JOBS)
    (due,) = plan.find_due(instant("2026-11-28T00:00:00"), instant("2026-11-29T02:00:00"))
    assert (due.job.name, due.instant, due.missed) == ("claims", instant("2026-11-29T01:30:00"), 1)
    assert due.run_id == "claims@2026-11-29T01:30:00.000000Z"
    assert plan.find_due(due.instant, instant("2026-11-29T02:00:00")) == []


def test_a_clock_that_is_set_back_makes_nothing_due_twice(tmp_path: Path):
    plan = read(tmp_path, JOBS)
    last_look = instant("2026-11-29T01:45:00")
    assert plan.find_due(last_look, instant("2026-11-29T00:45:00")) == []
    # Whoever forgot the last look finds the same run id again, which a queue accepts once.
    (again,) = plan.find_due(instant("2026-11-29T00:45:00"), last_look)
    assert again.run_id == "claims@2026-11-29T01:30:00.000000Z"


def test_a_schedule_is_in_its_own_time_zone(tmp_path: Path):
    plan = read(tmp_path, JOBS)
    train = plan.jobs["train_denials"]
    assert plan.next_instant(train, instant("2026-11-29T00:00:00")) == instant("2026-11-30T12:00:00")
    assert plan.next_instant(train, instant("2026-06-07T00:00:00")) == instant("2026-06-08T11:00:00")
    assert plan.next_instant(plan.jobs["tables"], instant("2026-11-29T00:00:00")) is None


def test_a_job_starts_when_all_that_it_follows_have_succeeded_since_its_last_start():
    plan = Plan(
        [
            PlannedJob("a", JobSettings(kind="ingest", subject="x")),
            PlannedJob("b", JobSettings(kind="ingest", subject="y")),
            PlannedJob("c", JobSettings(kind="transform", after=("a", "b"))),
        ]
    )
    early, late = instant("2026-11-29T01:00:00"), instant("2026-11-29T02:00:00")
    assert plan.find_followers("a", {"a": early}, {}) == []
    assert [job.name for job in plan.find_followers("b", {"a": early, "b": late}, {})] == ["c"]
    assert plan.find_followers("b", {"a": early, "b": late}, {"c": early}) == []
    assert [job.name for job in plan.find_followers("a", {"a": late, "b": late}, {"c": early})] == ["c"]
    assert plan.find_followers("c", {"c": late}, {}) == []


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ('[jobs.a]\nkind = "ingest"\nsubject = "clearinghose"\n', ":8: no source 'clearinghose'; did you mean"),
        ('[jobs.a]\nkind = "transform"\nafter = ["c"]\n', ":8: no job 'c'"),
        ('[jobs.a]\nkind = "transform"\nafter = ["a"]\n', "these jobs wait for each other: a"),
        (
            '[jobs.a]\nkind = "transform"\nafter = ["b"]\n[jobs.b]\nkind = "transform"\nafter = ["a"]\n',
            "these jobs wait for each other: a, b",
        ),
        ('[jobs.a]\nkind = "transform"\nsubject = "x"\n', "transform has no subject"),
        ('[jobs.a]\nkind = "train"\n', "train needs a subject"),
        ('[jobs.a]\nkind = "record-outcomes"\nsubject = "x"\n', "record-outcomes has no subject"),
        (
            '[jobs.a]\nkind = "approve"\nsubject = "x"\n',
            "Input should be 'ingest', 'transform', 'train', 'record-outcomes' or 'retain'",
        ),
        ('[jobs.a]\nkind = "transform"\nschedule = "61 * * * *"\n', "not five fields of cron"),
        ('[jobs.a]\nkind = "transform"\nschedule = "0 0 31 2 *"\n', "not five fields of cron"),
        ('[jobs.a]\nkind = "transform"\ntimezone = "Chicago"\n', "no such time zone"),
        ('[jobs.a]\nkind = "transform"\non_new_file = true\n', "on_new_file is for ingest"),
        ('[jobs.a]\nkind = "transform"\nsla = "2 hours"\n', "such as 90m"),
        ('[jobs.a]\nkind = "transform"\nscedule = "x"\n', "did you mean 'schedule'?"),
        ('[jobs.A]\nkind = "transform"\n', "begins with a letter"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, jobs: str, message: str):
    with pytest.raises(ProjectError) as mistake:
        read(tmp_path, jobs)
    assert message in mistake.value.what


@given(
    minutes=st.lists(st.integers(0, 20_000), min_size=2, max_size=12).map(sorted),
    schedule=st.sampled_from(["*/7 * * * *", "0 3 * * *", "15 */5 * * 1-5"]),
    timezone=st.sampled_from(["UTC", "America/Chicago", "Australia/Lord_Howe"]),
)
def test_looks_at_any_moments_find_each_instant_in_exactly_one_of_them(
    minutes: list[int], schedule: str, timezone: str
):
    plan = Plan([PlannedJob("a", JobSettings(kind="transform", schedule=schedule, timezone=timezone))])
    # Over both changes of the clocks in Chicago and on Lord Howe Island.
    start = instant("2026-10-25T00:00:00")
    looks = [start + timedelta(minutes=minute) for minute in minutes]
    due_runs = [due for since, until in itertools.pairwise(looks) for due in plan.find_due(since, until)]
    counted = sum(1 + due.missed for due in due_runs)
    total = plan.find_due(looks[0], looks[-1])
    assert counted == sum(1 + due.missed for due in total)
    assert len({due.run_id for due in due_runs}) == len(due_runs)
