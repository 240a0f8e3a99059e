"""Project -> Assembly of open ports: the one file that chooses vendors. Frozen, no methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from wellspring.project import Project
from wellspring.records.clock import Clock, SystemClock
from wellspring.records.observe import Step
from wellspring.stores.objects.disk import DiskPaths

if TYPE_CHECKING:
    from wellspring.data.lake import Lake
    from wellspring.trust.ledger.index import Index
    from wellspring.trust.ledger.sequencer import Sequencer
    from wellspring.trust.ledger.tree import Tree
    from wellspring.trust.vault.port import Vault


class Credential(NamedTuple):
    """What a process is born with: its role, and a wrapped secret-id that works a single time."""

    role_id: str
    wrapped: str


@dataclass(frozen=True)
class Records:
    """What can be read and written without any server: the ledger as it stands, and this process's own journal."""

    project: Project
    clock: Clock
    tree: Tree
    index: Index
    step: Step


@dataclass(frozen=True)
class Assembly:
    """The open ports of one run. Steps receive what they need by keyword; nobody keeps the whole."""

    project: Project
    clock: Clock
    records: Records
    step: Step
    vault: Vault
    lake: Lake
    sequencer: Sequencer


@contextmanager
def open_records(project: Project, *, service: str = "worker", clock: Clock | None = None) -> Iterator[Records]:
    """Open the ledger for reading, and this service's journal for its own lines."""
    from wellspring.observe.lineage import Lineage
    from wellspring.observe.metrics import Metrics
    from wellspring.observe.step import Steps
    from wellspring.trust.ledger.index import Index
    from wellspring.trust.ledger.journal import Journal
    from wellspring.trust.ledger.tree import Tree

    clock = clock or SystemClock()
    tree = Tree(DiskPaths(project.ledger))
    with ExitStack() as stack:
        journal = Journal(project.journals, service, tenant=project.tenant, clock=clock)
        stack.callback(journal.close)
        step = Steps(
            service=service,
            actor=f"service:{service}",
            tenant=project.tenant,
            journal=journal,
            metrics=Metrics(project.state / "metrics", service),
            lineage=Lineage(project.state / "lineage" / f"{service}.jsonl", project.name),
            clock=clock,
            crash_at=project.crash_at,
        )
        yield Records(
            project=project, clock=clock, tree=tree, index=Index(project.ledger / "index.sqlite", tree), step=step
        )


@contextmanager
def assemble(project: Project, credential: Credential, *, clock: Clock | None = None) -> Iterator[Assembly]:
    """Log in and open every port of the worker. Raises Unavailable when a server is down, Refused for a bad login."""
    from wellspring.data.lake import Lake
    from wellspring.trust.identity.openbao import login
    from wellspring.trust.keys.openbao import OpenBaoSigner
    from wellspring.trust.ledger.sequencer import Sequencer
    from wellspring.trust.ledger.witness import RemoteWitness
    from wellspring.trust.vault.remote import RemoteVault

    with open_records(project, clock=clock) as records, ExitStack() as stack:
        session = login(project.socket("openbao"), role_id=credential.role_id, wrapped=credential.wrapped)
        stack.callback(session.close)
        paths = DiskPaths(project.ledger)
        sequencer = Sequencer(
            paths=paths,
            journals=project.journals,
            origin=paths.read("origin").decode().strip(),
            signer=OpenBaoSigner(session),
            witness=RemoteWitness(project.socket("witness")),
            index=records.index,
            clock=records.clock,
            reached=records.step.reached,
        )
        lake = Lake(project.lake, tenant=project.tenant, clock=records.clock)
        stack.callback(lake.close)
        yield Assembly(
            project=project,
            clock=records.clock,
            records=records,
            step=records.step,
            vault=RemoteVault(project.socket("intake")),
            lake=lake,
            sequencer=sequencer,
        )
