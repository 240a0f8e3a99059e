"""A project reads the machine's clock, unless it is a simulation from its first start on."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders.jobs import write_project
from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project, load_project
from wellspring.records.clock import SystemClock
from wellspring.runtime.simulated_clock import SIMULATION_HOST, SimulatedClock, check_clock, open_clock

INSTANT = datetime(2031, 5, 1, 12, tzinfo=UTC)


def make_project(folder: Path, *, is_simulation: bool, log_host: str = "") -> Project:
    project = load_project(write_project(folder, "[simulation]\n" if is_simulation else ""), environ={})
    if log_host:
        (project.ledger_dir / "origin").write_text(f"{log_host}/tests/00000000")
    return project


def set_clock(path: Path, instant: datetime, *, elapsed: float = 0.0) -> None:
    """Write the file as it was `elapsed` seconds ago."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"instant": instant.isoformat(), "monotonic": time.monotonic() - elapsed}))


def test_the_clock_runs_from_the_instant_that_was_set(tmp_path: Path):
    clock = SimulatedClock(tmp_path / "simulation" / "clock.json")
    set_clock(tmp_path / "simulation" / "clock.json", INSTANT, elapsed=90)
    first, second = clock.now(), clock.now()
    assert timedelta(seconds=90) <= first - INSTANT < timedelta(seconds=150)
    assert first <= second


def test_a_clock_that_was_opened_before_follows_each_jump(tmp_path: Path):
    path = tmp_path / "simulation" / "clock.json"
    clock = SimulatedClock(path)
    for instant in (INSTANT, INSTANT + timedelta(days=30), INSTANT - timedelta(hours=1)):
        set_clock(path, instant)
        assert abs(clock.now() - instant) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"instant": "noon", "monotonic": 1}', b'{"instant": 5}', b"[]"]
)
def test_a_missing_or_damaged_file_is_unavailable(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "clock.json").write_bytes(content)
    with pytest.raises(Unavailable):
        SimulatedClock(tmp_path / "clock.json").now()


@pytest.mark.parametrize("log_host", ["", "wellspring.example.com"])
def test_a_project_without_the_table_reads_the_clock_of_the_machine(tmp_path: Path, log_host: str):
    project = make_project(tmp_path, is_simulation=False, log_host=log_host)
    set_clock(project.root / "simulation" / "clock.json", INSTANT)
    check_clock(project)
    assert isinstance(open_clock(project), SystemClock)


@pytest.mark.parametrize("log_host", ["", SIMULATION_HOST])
def test_a_simulation_reads_the_clock_that_was_set(tmp_path: Path, log_host: str):
    project = make_project(tmp_path, is_simulation=True, log_host=log_host)
    set_clock(project.root / "simulation" / "clock.json", INSTANT)
    check_clock(project)
    assert open_clock(project).now() - INSTANT < timedelta(minutes=1)


def test_the_table_in_a_project_with_a_log_of_real_instants_is_refused(tmp_path: Path):
    project = make_project(tmp_path, is_simulation=True, log_host="wellspring.example.com")
    set_clock(project.root / "simulation" / "clock.json", INSTANT)
    for read in (open_clock, check_clock):
        with pytest.raises(ProjectError, match=r"wellspring\.toml:\d+: \[simulation\]"):
            read(project)


def test_a_simulation_does_not_start_without_its_table(tmp_path: Path):
    with pytest.raises(ProjectError, match="is missing"):
        check_clock(make_project(tmp_path, is_simulation=False, log_host=SIMULATION_HOST))
