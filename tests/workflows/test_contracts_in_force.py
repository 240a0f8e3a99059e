"""Which contract is in force: the last that was accepted, whatever its file says since."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders.approvals import Books
from tests.builders.contract_texts import JOURNEY
from wellspring.data.contracts import contract as contracts
from wellspring.errors import NotFound, Refused
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.workflows.contracts_in_force import (
    explain_unreleased,
    find_contract,
    list_unreleased,
    read_contracts_in_force,
)
from wellspring.workflows.prove import contract_archive_dir


class World:
    """A project with one contract file, and the log in which the enclave accepts versions."""

    def __init__(self, folder: Path) -> None:
        self.books = Books()
        self.path = folder / "contracts" / "claim.odcs.yaml"
        self.path.parent.mkdir()
        self.path.write_text(JOURNEY)
        project = SimpleNamespace(
            contracts_dir=self.path.parent, lake_dir=folder / "lake", tenant="acme", source_names=("clearinghouse",)
        )
        self.ports: Any = SimpleNamespace(
            project=project, clock=self.books.step.clock, ledger=SimpleNamespace(index=self.books)
        )

    def read(self) -> tuple[str, Digest]:
        (contract,) = read_contracts_in_force(self.ports)
        return contract.version, contract.digest

    def accept(self) -> None:
        """Record what is in force now as accepted."""
        version, digest = self.read()
        subject = f"contract:medical_claim@{version}"
        with self.books.step("accept", subject, inputs=[Ref(name=subject, digest=digest)]):
            pass
        self.books.change(self.books.step.entries[-1], service="enclave")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_first_version_is_in_force_and_an_accepted_one_stays_so(world: World):
    first = world.read()
    world.path.write_text(JOURNEY.replace("vendor", "Vendor").replace("1.0.0", "1.0.1"))
    changed = world.read()
    assert changed != first, "nothing was accepted yet"
    world.path.write_text(JOURNEY)
    world.accept()
    world.path.write_text(JOURNEY.replace("version: 1.0.0", "version: 2.0.0"))
    assert world.read() == first
    (unreleased,) = list_unreleased(world.ports)
    assert (unreleased.name, unreleased.version_in_force, unreleased.version_on_disk, unreleased.command) == (
        "medical_claim", "1.0.0", "2.0.0", "wellspring release propose --kind contract medical_claim",
    )  # fmt: skip


def test_nothing_is_unreleased_while_files_say_what_is_in_force(world: World):
    assert list_unreleased(world.ports) == ()
    world.accept()
    assert list_unreleased(world.ports) == ()


def test_a_version_in_force_whose_text_is_gone_is_not_guessed(world: World):
    world.accept()
    for path in contract_archive_dir(world.ports.project).iterdir():
        path.unlink()
    world.path.write_text(JOURNEY.replace("version: 1.0.0", "version: 2.0.0"))
    with pytest.raises(NotFound):
        world.read()


def test_a_refusal_by_the_version_in_force_names_the_one_on_disk(world: World):
    world.accept()
    world.path.write_text(JOURNEY.replace("version: 1.0.0", "version: 2.0.0"))
    refused = Refused("no row passes", fix="correct it", verdict=Verdict(subject="drop:1", outcome="fail"))
    explained = explain_unreleased(refused, list_unreleased(world.ports), "medical_claim")
    assert explained.what == "no row passes; medical_claim 2.0.0 on disk is not in force"
    assert explained.verdict == refused.verdict
    assert explain_unreleased(refused, list_unreleased(world.ports), "another") is refused


def test_a_contract_is_sought_by_its_name(world: World):
    (contract,) = read_contracts_in_force(world.ports)
    assert find_contract([contract], "medical_claim") == contract
    with pytest.raises(NotFound, match="no contract 'medical_claims'"):
        find_contract([contract], "medical_claims")
    assert contracts.list_contract_files(world.path.parent, tenant="acme") == {"medical_claim": world.path}
