"""A half-minute sample of `make crash`: one crash point of each file, and a few random moments."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import crash_points
from tests.crash.__main__ import is_ingest_point
from tests.crash.kill import Killer, open_killer, ordered
from tests.crash.project import ProjectFixture

SECONDS = 25
MOMENTS = 2

pytestmark = [pytest.mark.live, pytest.mark.crash]


def sample() -> list[str]:
    """Take one crash point of each file, a different one each day. Those of logins take too long for a sample."""
    files: dict[str, list[str]] = {}
    for point in crash_points.list_crash_points():
        if not is_ingest_point(point.name):
            continue
        files.setdefault(point.file, []).append(point.name)
    day = int(time.time() // 86_400)
    return ordered([names[day % len(names)] for names in files.values()])


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    folder = tmp_path_factory.mktemp("crash")
    # Services with other uids need access to the project through these folders.
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    root = folder / "project"
    try:
        yield open_killer(root, sample())
    finally:
        if (root / "wellspring.toml").exists():
            ProjectFixture.down(Path(root))


def test_a_killed_project_recovers(killer: Killer) -> None:
    seed, started = int(time.time()), time.monotonic()
    draw = random.Random(seed)
    outcomes = [killer.moment(draw) for _ in range(MOMENTS)]
    for name in sample():
        if time.monotonic() - started < SECONDS:
            outcomes.append(killer.point(name))
    assert [outcome for outcome in outcomes if not outcome.good] == [], f"seed {seed}"
