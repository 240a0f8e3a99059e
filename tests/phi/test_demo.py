"""After the demo no planted person is anywhere but inside the enclave: not in a file, an output, a process's words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from examples.health_plan import drops, population
from tests.phi.process_watch import Watched
from tests.phi.search import Person, search, search_bytes

pytestmark = [pytest.mark.live, pytest.mark.slow]


class Demo(NamedTuple):
    """A project in which the demo ran, what it said, and what its processes were told."""

    root: Path
    output: bytes
    watched: Watched
    people: list[Person]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("phi")
    # Services of other users reach the project through these folders.
    for place in (folder, folder.parent, folder.parent.parent):
        place.chmod(0o755)
    root = folder / "demo"
    words = [sys.executable, "-m", "wellspring.cli", "demo", "--project", str(root)]
    try:
        with Watched(root) as watched:
            ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-3000:]
        people = [Person.of(item) for item in population.planted(drops.PLANTED, drops.SEED)]
        yield Demo(root, ran.stdout, watched, people)
    finally:
        down = [sys.executable, "-m", "wellspring.cli", "down", "--project", str(root)]
        subprocess.run(down, capture_output=True, timeout=120, check=False)


def test_the_vendor_did_send_every_planted_person(demo: Demo) -> None:
    """What is not there cannot leak: the search below would prove nothing."""
    hits = search([demo.root / "vendor" / "outbox"], demo.people)
    assert {hit.person for hit in hits} == set(range(len(demo.people)))


def test_no_file_of_the_house_outside_the_enclave_names_anybody(demo: Demo) -> None:
    project = demo.root / ".wellspring"
    # Run records and the online store among them, which a search of nothing would not miss.
    for stored in ("journals/api", "mlflow/mlflow.db", "mlflow/artifacts", "valkey/dump.rdb", "valkey/appendonlydir"):
        assert (project / stored).exists(), stored
    assert search([project], demo.people, exclude=[project / "enclave", project / "postgres"]) == []


def test_nothing_beside_the_house_names_anybody(demo: Demo) -> None:
    """The packs that were written out, the contracts, the witness."""
    assert search([demo.root], demo.people, exclude=[demo.root / ".wellspring", demo.root / "vendor"]) == []


def test_what_the_demo_printed_names_nobody(demo: Demo) -> None:
    assert search_bytes("output", demo.output, demo.people) == []


def test_no_argument_and_no_environment_of_a_process_names_anybody(demo: Demo) -> None:
    assert any("python" in name for name in demo.watched.observed)
    assert any("postgres" in name for name in demo.watched.observed)
    assert demo.watched.hits(demo.people) == []
