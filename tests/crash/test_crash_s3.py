"""A short sample of `python -m tests.crash --source s3`: one kill in the enclave, and one in the worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.crash.kill import Killer, open_killer
from tests.crash.project import ProjectFixture

POINTS = (
    "enclave.land:original_written",
    "enclave.land:recorded",
    "workflows.ingest:staged",
    "workflows.publish:settled",
)

pytestmark = [pytest.mark.live, pytest.mark.crash, pytest.mark.long]


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    folder = tmp_path_factory.mktemp("crash-s3")
    # Services with other uids need access to the project through these folders.
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    root = folder / "project"
    try:
        killer = open_killer(root, [], source="s3")
        yield killer
        killer.project.close()
    finally:
        if (root / "wellspring.toml").exists():
            ProjectFixture.down(root)


def test_a_killed_project_with_a_bucket_as_its_source_recovers(killer: Killer) -> None:
    # One of the points a day; each point in `make crash`.
    outcome = killer.point(POINTS[int(time.time() // 86_400) % len(POINTS)])
    assert outcome.good, outcome
