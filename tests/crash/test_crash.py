"""Two minutes of `make crash`: every room's points by turns, and a few random moments. All of it: `make crash`."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import crash_points
from tests.crash.kill import Killer, open_killer, ordered
from tests.crash.model_lifecycle import comes_by
from tests.crash.project import ProjectFixture

SECONDS = 85
MOMENTS = 2

pytestmark = [pytest.mark.live, pytest.mark.crash]


def sample() -> list[str]:
    """Take one crash point of each file, another one each day; those on the way to an answer take longer than that."""
    files: dict[str, list[str]] = {}
    for point in crash_points.every():
        if comes_by(point.name):
            continue
        files.setdefault(point.file, []).append(point.name)
    day = int(time.time() // 86_400)
    return ordered([names[day % len(names)] for names in files.values()])


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    folder = tmp_path_factory.mktemp("crash")
    # Sockets and services of other users reach the project through these folders.
    for place in (folder, folder.parent, folder.parent.parent):
        place.chmod(0o755)
    root = folder / "house"
    try:
        yield open_killer(root, sample())
    finally:
        if (root / "wellspring.toml").exists():
            ProjectFixture.down(Path(root))


def test_a_killed_house_comes_back_in_order(killer: Killer) -> None:
    seed, started = int(time.time()), time.monotonic()
    draw = random.Random(seed)
    outcomes = [killer.moment(draw) for _ in range(MOMENTS)]
    for name in sample():
        if time.monotonic() - started < SECONDS:
            outcomes.append(killer.point(name))
    assert [outcome for outcome in outcomes if not outcome.good] == [], f"seed {seed}"
