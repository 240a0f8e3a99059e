"""Project -> Assembly of open ports: the one file that chooses vendors. Frozen, no methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import ProjectError
from wellspring.project import Project
from wellspring.records.clock import Clock, SystemClock
from wellspring.records.observe import Step
from wellspring.stores.objects.disk import DiskPaths

if TYPE_CHECKING:
    from wellspring.data.lake import Lake
    from wellspring.models.registry import Registry
    from wellspring.models.release import House as Releasing
    from wellspring.models.serving import Domains, Served
    from wellspring.models.train import Shelf
    from wellspring.records.data import Contract, Views
    from wellspring.records.models import Release
    from wellspring.records.record import Digest
    from wellspring.stores.online import OnlineWriter
    from wellspring.trust.keys.port import Signer
    from wellspring.trust.ledger.index import Index
    from wellspring.trust.ledger.sequencer import Sequencer
    from wellspring.trust.ledger.tree import Tree
    from wellspring.trust.secrets.port import Secrets
    from wellspring.trust.vault.port import Vault
    from wellspring_verify import notes


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
    models: Signer
    secrets: Secrets


class Serving(NamedTuple):
    """What loads releases, for whoever serves them and for whoever makes one live: never other checks for the two.

    views: the definitions of a digest; domains: reads the contracts.
    """

    load: Callable[[Release], Served]
    views: Callable[[Digest], Views]
    domains: Callable[[], Domains]


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
        stack.callback(step.close)
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
    from wellspring.trust.secrets.openbao import OpenBaoSecrets
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
            models=OpenBaoSigner(session, "models"),
            secrets=OpenBaoSecrets(session),
        )


@contextmanager
def open_online(house: Assembly) -> Iterator[OnlineWriter]:
    """Open the online store for writing. Raises Unavailable when it is down."""
    from wellspring.stores.online import OnlineWriter

    kept = house.secrets.read("worker/valkey")
    project = house.project
    writer = OnlineWriter(project.socket("valkey"), project.name, user=kept["user"], password=kept["password"])
    try:
        yield writer
    finally:
        writer.close()


def open_registry(project: Project) -> Registry:
    """Open MLflow. Raises Unavailable when it is not up."""
    from wellspring.models.registry import Registry

    files = project.mlflow_files
    return Registry(f"https://127.0.0.1:{project.port('mlflow')}", ca=files.ca, client_cert=files.client)


def open_shelf(records: Records, public: bytes) -> Shelf:
    """Open the folder of trained models. public: the 32 bytes of the key that signs them."""
    from wellspring.models.train import Shelf
    from wellspring.stores.objects.disk import DiskObjects
    from wellspring_verify import notes

    kept = records.project.models_kept
    key = notes.Key(f"{records.tree.head().origin}/models", notes.LOG, public)
    return Shelf(DiskObjects(kept / "objects"), DiskPaths(kept), key)


def open_serving(project: Project, clock: Clock, key: notes.Key) -> Serving:
    """Bind what loads releases. key: the signer of models."""
    from wellspring.data import contract, features
    from wellspring.models import serving
    from wellspring.models.predict import Scorer
    from wellspring.stores.objects.disk import DiskObjects

    kept = project.models_kept
    scorer = partial(Scorer.load, objects=DiskObjects(kept / "objects"), paths=DiskPaths(kept), key=key)
    views = partial(features.load_kept, project.lake / "views")

    def domains() -> Domains:
        held: list[Contract] = []
        for path in sorted(project.contracts.glob(contract.PATTERN)):
            # A mistake in a contract that a release does not need keeps nobody from going back to it.
            with suppress(ProjectError):
                held.append(contract.load(path, tenant=project.tenant, known_since=clock.now()))
        return serving.domains(held)

    return Serving(partial(serving.load, scorer=scorer, views=views, domains=domains), views, domains)


def open_releases(house: Assembly) -> Releasing:
    """Open what serves models: releases, their approvals, and what shows them."""
    from wellspring.models.release import House, Releases

    shelf = open_shelf(house.records, house.models.public_key())
    return House(
        Releases(house.project.models_kept),
        house.records.index,
        house.lake,
        open_registry(house.project),
        open_serving(house.project, house.clock, shelf.key).load,
    )
