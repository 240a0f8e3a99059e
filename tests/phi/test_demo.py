"""After the demo, planted personal data is in the enclave only: not in other files, output or process arguments.

The short sample of it is in tests/journeys/test_predictions.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.health_plan import drops, population
from tests.phi.process_watch import ProcessWatch
from tests.phi.search import Person, search, search_bytes

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.long]


class Demo(NamedTuple):
    """A project in which the demo ran, its output, and the arguments and environments of its processes."""

    root: Path
    output: bytes
    process_watch: ProcessWatch
    people: list[Person]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("phi")
    # Services under other users read the project through these folders.
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    root = folder / "demo"
    argv = [sys.executable, "-m", "wellspring.cli", "demo", "--project", str(root)]
    try:
        with ProcessWatch(root) as process_watch:
            ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-3000:]
        people = [Person.of(item) for item in population.planted(drops.PLANTED, drops.SEED)]
        yield Demo(root, ran.stdout, process_watch, people)
    finally:
        down = [sys.executable, "-m", "wellspring.cli", "down", "--project", str(root)]
        subprocess.run(down, capture_output=True, timeout=120, check=False)


def test_the_drops_contain_every_planted_person(demo: Demo) -> None:
    """Without planted data the searches below would prove nothing."""
    hits = search([demo.root / "vendor" / "outbox"], demo.people)
    assert {hit.person for hit in hits} == set(range(len(demo.people)))


def test_no_file_outside_the_enclave_contains_a_planted_person(demo: Demo) -> None:
    project = demo.root / ".wellspring"
    # The search covers run records and the online store: they exist.
    for stored in ("journals/api", "mlflow/mlflow.db", "mlflow/artifacts", "valkey/dump.rdb", "valkey/appendonlydir"):
        assert (project / stored).exists(), stored
    assert search([project], demo.people, exclude=[project / "enclave", project / "postgres"]) == []


def test_no_other_file_of_the_project_contains_a_planted_person(demo: Demo) -> None:
    """Search the packs, the contracts and the witness."""
    assert search([demo.root], demo.people, exclude=[demo.root / ".wellspring", demo.root / "vendor"]) == []


def test_the_output_contains_no_planted_person(demo: Demo) -> None:
    assert search_bytes("output", demo.output, demo.people) == []


def test_no_process_argument_or_environment_contains_a_planted_person(demo: Demo) -> None:
    assert any("python" in name for name in demo.process_watch.observed)
    assert any("postgres" in name for name in demo.process_watch.observed)
    assert demo.process_watch.hits(demo.people) == []
