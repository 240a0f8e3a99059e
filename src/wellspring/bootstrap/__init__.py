"""Composition root: opens the adapters that a project configures, and wires them into a `Platform`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from wellspring.bootstrap.lake_ports import open_lake as open_lake
from wellspring.bootstrap.lake_ports import open_recorded_tables as open_recorded_tables
from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.observe import Recorder
from wellspring.runtime.process import Credential
from wellspring.runtime.project_code import ProjectCode
from wellspring.runtime.run_state import find_server_port
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.simulated_clock import open_clock
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore

if TYPE_CHECKING:
    from wellspring.data.intake.drop_index import DropIndex
    from wellspring.lake.lake import Lake
    from wellspring.lake.recorded_tables import RecordedTables
    from wellspring.models.releases.release_context import ReleaseContext as ReleaseContext
    from wellspring.models.tracking.mlflow import MlflowRegistry
    from wellspring.models.training.ports import ModelStore
    from wellspring.observe.recorder import StepRecorder
    from wellspring.query.port import QueryEngine
    from wellspring.records.contracts import DataContract
    from wellspring.records.features import FeatureViews
    from wellspring.records.jobs import RunIdentity
    from wellspring.records.models import Release
    from wellspring.records.record import Digest
    from wellspring.serving.loaded_release import LoadedRelease, TokenDomains
    from wellspring.stores.locks.port import WriteFence
    from wellspring.stores.objects.port import ContentStore
    from wellspring.stores.online.port import OnlineStoreAdapter, OnlineWriter, StoreLogin
    from wellspring.trust.changes.store import ChangeStore
    from wellspring.trust.identity.openbao import OpenBaoSession
    from wellspring.trust.keys.port import VersionedSigner
    from wellspring.trust.ledger.index import LedgerIndex
    from wellspring.trust.ledger.journal_key import JournalKey
    from wellspring.trust.ledger.remote_sequencer import LogSequencer
    from wellspring.trust.ledger.tree import MerkleTree
    from wellspring.trust.secrets.port import SecretStore
    from wellspring.trust.vault.port import IntakeService
    from wellspring.trust.vault.remote import EnclaveClient
    from wellspring_verify import notes


@dataclass(frozen=True)
class LedgerReader:
    """The local ledger for reading; usable without any server."""

    project: Project
    clock: Clock
    tree: MerkleTree
    index: LedgerIndex


@dataclass(frozen=True)
class LedgerAccess(LedgerReader):
    """The local ledger and this process's journal."""

    step: Recorder


@dataclass(frozen=True)
class ReadPorts:
    """The open ports of a query: it records nothing and waits for no job.

    model_signer, sequencer: None without a login.
    """

    project: Project
    clock: Clock
    ledger: LedgerReader
    vault: IntakeService
    lake: Lake
    recorded_tables: RecordedTables
    drops: DropIndex
    model_signer: VersionedSigner | None
    sequencer: LogSequencer | None


@dataclass(frozen=True)
class Platform:
    """The open ports of one run. Workflows pass the ports that a step needs. fence: of the resources that it holds."""

    project: Project
    clock: Clock
    ledger: LedgerAccess
    step: Recorder
    vault: IntakeService
    lake: Lake
    recorded_tables: RecordedTables
    query_engine: QueryEngine
    sequencer: LogSequencer
    drops: DropIndex
    model_signer: VersionedSigner
    secrets: SecretStore
    project_code: ProjectCode
    fence: WriteFence
    changes: ChangeStore


class ModelPorts(NamedTuple):
    """The open ports of training and releases. store: of the trained models. releases: with what promotion checks."""

    registry: MlflowRegistry
    store: ModelStore
    releases: ReleaseContext


class ReleaseLoaders(NamedTuple):
    """Loaders of releases, shared by serving and promotion so that both apply the same checks.

    load_views: feature views by digest; load_token_domains: token domains from the contracts.
    """

    load_release: Callable[[Release], LoadedRelease]
    load_views: Callable[[Digest], FeatureViews]
    load_token_domains: Callable[[], TokenDomains]


def request_journal_key(session: OpenBaoSession, journal: str) -> JournalKey:
    """Make the key with which this process signs the lines of a journal, certified by the role that is logged in.

    Raises Refused if the journal is of another service than the role, Unavailable when OpenBao does not respond.
    """
    from wellspring.trust.keys.openbao import OpenBaoSigner
    from wellspring.trust.ledger.journal_key import create_journal_key, service_key_name

    return create_journal_key(journal, OpenBaoSigner(session, service_key_name(journal)).sign)


def login_for_journal_key(project: Project, credential: Credential, journal: str) -> JournalKey:
    """Log in, make the key of a journal, and log out. Raises as `request_journal_key`."""
    from wellspring.trust.identity.openbao import login_service

    socket = find_server_socket(project, "openbao")
    with login_service(socket, role_id=credential.role_id, wrapped_secret_id=credential.wrapped) as session:
        return request_journal_key(session, journal)


@contextmanager
def open_recorder(
    project: Project, key: JournalKey, *, clock: Clock, crash_at: str | None, run: RunIdentity | None = None
) -> Iterator[StepRecorder]:
    """Open the journal, the metrics and the lineage of a service, and the recorder that writes them.

    key: of the journal, which it names. run: the job that records; the actor of its entries is `service:worker`, also
    in the journal `worker-2`. crash_at: the crash point at which the process kills itself, in crash tests; None for a
    process that they spare.
    """
    from wellspring.observe.lineage import LineageWriter
    from wellspring.observe.metrics import StepMetrics
    from wellspring.observe.recorder import StepRecorder
    from wellspring.runtime.crash_point import reach_crash_point
    from wellspring.trust.ledger.journal import Journal
    from wellspring.trust.ledger.journal_state import count_packed_lines

    service = key.journal
    with ExitStack() as stack:
        journal = Journal(
            project.journals_dir,
            key,
            tenant=project.tenant,
            clock=clock,
            count_packed=partial(count_packed_lines, project.ledger_dir, service),
            crash_point=partial(reach_crash_point, crash_at),
        )
        stack.callback(journal.close)
        step = StepRecorder(
            service=service,
            actor="service:worker" if run is not None else f"service:{service}",
            tenant=project.tenant,
            journal=journal,
            # A folder for each journal: no other service can replace a file there.
            metrics=StepMetrics(project.state_dir / "metrics" / service, service),
            lineage=LineageWriter(project.state_dir / "lineage" / service / f"{service}.jsonl", project.name),
            clock=clock,
            crash_at=crash_at,
            run=run,
        )
        stack.callback(step.close)
        yield step


def open_ledger_tree(project: Project) -> MerkleTree:
    """Open the tree of the ledger for reading; it needs no server."""
    from wellspring.trust.ledger.tree import MerkleTree

    return MerkleTree(DiskBlobStore(project.ledger_dir))


def open_sealed_manifests(project: Project) -> ContentStore:
    """Open the store of the manifests of sealed stories; it needs no server."""
    return DiskContentStore(project.lake_dir / "sealed")


def open_ledger_index(project: Project) -> LedgerIndex:
    """Open the index of the ledger for reading; it needs no server.

    Every process opens it here. Raises ProjectError for a governed project whose wellspring.toml says development.
    """
    from wellspring.trust.ledger.index import LedgerIndex
    from wellspring.trust.modes import require_mode

    index = LedgerIndex(project.ledger_dir / "index.sqlite", open_ledger_tree(project), project.journals_dir)
    # The sequencer rebuilds an index that is missing; `up` checks again after that.
    with suppress(Unavailable):
        require_mode(project, index)
    return index


def open_ledger_reader(project: Project, *, clock: Clock | None = None) -> LedgerReader:
    """Open the ledger for reading."""
    index = open_ledger_index(project)
    return LedgerReader(project, clock or open_clock(project), index.tree, index)


@contextmanager
def open_ledger(
    project: Project, key: JournalKey, *, clock: Clock | None = None, run: RunIdentity | None = None
) -> Iterator[LedgerAccess]:
    """Open the ledger for reading and the journal of a service for writing."""
    reader = open_ledger_reader(project, clock=clock)
    with open_recorder(project, key, clock=reader.clock, crash_at=project.crash_at, run=run) as step:
        yield LedgerAccess(project=project, clock=reader.clock, tree=reader.tree, index=reader.index, step=step)


@contextmanager
def open_platform(
    project: Project,
    credential: Credential,
    *,
    project_code: ProjectCode,
    fence: WriteFence,
    clock: Clock | None = None,
    service: str = "worker",
    run: RunIdentity | None = None,
) -> Iterator[Platform]:
    """Log in and open the worker's ports. service: the journal that it writes; run: the job for which.

    Raises Unavailable when a server is down, Refused for an invalid login.
    """
    from wellspring.data.intake.drop_index import DROPS_FILE, DropIndex
    from wellspring.query.registry import open_query_engine
    from wellspring.trust.changes.store import ChangeStore
    from wellspring.trust.identity.openbao import login_service
    from wellspring.trust.keys.openbao import OpenBaoVersionedSigner
    from wellspring.trust.ledger.remote_sequencer import RemoteSequencer
    from wellspring.trust.secrets.openbao import OpenBaoSecretStore

    openbao = find_server_socket(project, "openbao")
    with ExitStack() as stack:
        session = login_service(openbao, role_id=credential.role_id, wrapped_secret_id=credential.wrapped)
        stack.callback(session.close)
        key = request_journal_key(session, service)
        ledger = stack.enter_context(open_ledger(project, key, clock=clock, run=run))
        lake = stack.enter_context(closing(open_lake(project, ledger.clock, fence)))
        drops = stack.enter_context(closing(DropIndex(project.lake_dir / DROPS_FILE, ledger.index)))
        recorded_tables = open_recorded_tables(project, fence)
        stack.callback(recorded_tables.close)
        yield Platform(
            project=project,
            clock=ledger.clock,
            ledger=ledger,
            step=ledger.step,
            vault=open_enclave_client(project, ledger.step.current_trace),
            lake=lake,
            recorded_tables=recorded_tables,
            query_engine=open_query_engine(project.query.engine, project.query.options),
            sequencer=RemoteSequencer(find_server_socket(project, "sequencer"), service),
            drops=drops,
            model_signer=OpenBaoVersionedSigner(session, "models"),
            secrets=OpenBaoSecretStore(session),
            project_code=project_code,
            fence=fence,
            changes=ChangeStore(project.changes_dir),
        )


def open_enclave_client(project: Project, current_trace: Callable[[], str] | None = None) -> EnclaveClient:
    """Open the client of the enclave's intake socket; it connects for each request, which continues the trace."""
    from wellspring.trust.vault.remote import EnclaveClient

    return EnclaveClient(find_server_socket(project, "intake"), current_trace=current_trace)


def read_store_login(store: OnlineStoreAdapter, service: str, secrets: SecretStore) -> StoreLogin:
    """Read the login of a service (`worker`, `api`) in an online store, and the key of its rows."""
    from wellspring.stores.online.port import ROW_KEY_SECRET, StoreLogin

    row_key = bytes.fromhex(secrets.read_secret(f"{service}/{ROW_KEY_SECRET}")["key"])
    if store.secret is None:
        return StoreLogin("", "", row_key)
    secret = secrets.read_secret(f"{service}/{store.secret}")
    return StoreLogin(secret["user"], secret["password"], row_key)


@contextmanager
def open_online_writer(platform: Platform) -> Iterator[OnlineWriter]:
    """Open the online store for writing. Raises Unavailable when it is down."""
    from wellspring.stores.online.registry import load_online_store

    store = load_online_store(platform.project)
    writer = store.open_writer(platform.project, read_store_login(store, "worker", platform.secrets))
    try:
        yield writer
    finally:
        writer.close()


def open_model_registry(project: Project) -> MlflowRegistry:
    """Open MLflow. Raises Unavailable when it is not up."""
    from wellspring.models.tracking.mlflow import MlflowRegistry

    address, files = f"https://127.0.0.1:{find_server_port(project, 'mlflow')}", project.mlflow_files
    return MlflowRegistry(address, ca=files.ca_path, client_cert=files.client_path)


def open_model_store(platform: Platform | ReadPorts) -> ModelStore:
    """Open the store of trained models, which checks their signatures. Raises Unavailable without a login."""
    from wellspring.models.training.ports import ModelStore
    from wellspring_verify import notes

    if platform.model_signer is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    models_dir, origin = platform.project.models_dir, platform.ledger.tree.read_head().origin
    keys = tuple(
        notes.VerifierKey(f"{origin}/models", notes.KIND_LOG, public_key)
        for public_key in platform.model_signer.public_keys()
    )
    return ModelStore(DiskContentStore(models_dir / "objects"), DiskBlobStore(models_dir), keys)


def open_release_loaders(project: Project, clock: Clock, keys: Sequence[notes.VerifierKey]) -> ReleaseLoaders:
    """Build the loaders of releases. keys: one of them signed each model."""
    from wellspring.data.contracts import contract
    from wellspring.data.features import views
    from wellspring.serving import loaded_release
    from wellspring.serving.scorer import Scorer

    models_dir = project.models_dir
    scorer = partial(
        Scorer.load, objects=DiskContentStore(models_dir / "objects"), paths=DiskBlobStore(models_dir), keys=keys
    )
    load_views = partial(views.load_views_by_digest, project.lake_dir / "views")

    def load_token_domains() -> TokenDomains:
        contracts: list[DataContract] = []
        for path in sorted(project.contracts_dir.glob(contract.CONTRACT_GLOB)):
            # An error in an unrelated contract must not block a rollback.
            with suppress(ProjectError):
                contracts.append(contract.load_contract(path, tenant=project.tenant, known_since=clock.now()))
        return loaded_release.collect_token_domains(contracts)

    return ReleaseLoaders(
        partial(loaded_release.load_release, scorer=scorer, views=load_views, token_domains=load_token_domains),
        load_views,
        load_token_domains,
    )


def open_models(platform: Platform | ReadPorts) -> ModelPorts:
    """Open the registry, the store of trained models and the releases. Raises Unavailable when MLflow is not up."""
    from wellspring.models.releases.release_context import ReleaseContext
    from wellspring.models.releases.store import ReleaseStore
    from wellspring.stores.locks.port import ReadOnlyFence

    registry, model_store = open_model_registry(platform.project), open_model_store(platform)
    return ModelPorts(
        registry,
        model_store,
        ReleaseContext(
            ReleaseStore(platform.project.models_dir),
            platform.ledger.index,
            platform.lake,
            registry,
            open_release_loaders(platform.project, platform.clock, model_store.keys).load_release,
            platform.fence if isinstance(platform, Platform) else ReadOnlyFence(),
        ),
    )
