"""Open the queue of jobs, the leases of a job, and the ports of a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from wellspring.bootstrap import (
    ReadPorts,
    open_enclave_client,
    open_lake,
    open_ledger_reader,
    open_recorded_tables,
    read_store_login,
)
from wellspring.project import Project
from wellspring.runtime.process import Credential
from wellspring.runtime.server_sockets import find_server_socket

if TYPE_CHECKING:
    from wellspring.errors import Unavailable
    from wellspring.stores.locks.held_leases import HeldLeases
    from wellspring.stores.online.port import RowChecker
    from wellspring.stores.queue.port import JobQueue


@contextmanager
def hold_resources(
    project: Project, resources: Iterable[str], holder: str, *, on_lost: Callable[[Unavailable], None]
) -> Iterator[HeldLeases]:
    """Acquire resources, renew their leases, and release them at the end. Raises Unavailable, ProjectError.

    on_lost: see `HeldLeases`.
    """
    from wellspring.stores.locks.held_leases import HeldLeases
    from wellspring.stores.locks.registry import open_resource_locks

    with closing(open_resource_locks(project)) as locks, closing(HeldLeases(locks, on_lost=on_lost)) as leases:
        leases.acquire_all(resources, holder)
        yield leases


def open_job_queue(project: Project, *, read_only: bool = False) -> JobQueue:
    """Open the queue of jobs. read_only: for a reader while the worker is down. Raises Unavailable without a queue."""
    from wellspring.stores.queue.sqlite import SqliteJobQueue

    return SqliteJobQueue(project.jobs_dir / "queue.sqlite", read_only=read_only)


@contextmanager
def open_read_ports(project: Project, credential: Credential | None, *, trace: str = "") -> Iterator[ReadPorts]:
    """Open the ports of a query; with a credential also the sequencer and the public key of models.

    trace: which the enclave continues; '' for one of each request.
    """
    from wellspring.data.intake.drop_index import DROPS_FILE, DropIndex
    from wellspring.stores.locks.port import ReadOnlyFence
    from wellspring.trust.identity.openbao import login_service
    from wellspring.trust.keys.openbao import OpenBaoVersionedSigner
    from wellspring.trust.ledger.remote_sequencer import RemoteSequencer

    with ExitStack() as stack:
        ledger = open_ledger_reader(project)
        lake = stack.enter_context(closing(open_lake(project, ledger.clock, ReadOnlyFence())))
        drops = stack.enter_context(closing(DropIndex(project.lake_dir / DROPS_FILE, ledger.index)))
        recorded_tables = stack.enter_context(closing(open_recorded_tables(project, ReadOnlyFence())))
        model_signer, sequencer = None, None
        if credential is not None:
            socket = find_server_socket(project, "openbao")
            session = login_service(socket, role_id=credential.role_id, wrapped_secret_id=credential.wrapped)
            stack.callback(session.close)
            model_signer = OpenBaoVersionedSigner(session, "models")
            sequencer = RemoteSequencer(find_server_socket(project, "sequencer"), "worker")
        yield ReadPorts(
            project=project,
            clock=ledger.clock,
            ledger=ledger,
            vault=open_enclave_client(project, (lambda: trace) if trace else None),
            lake=lake,
            recorded_tables=recorded_tables,
            drops=drops,
            model_signer=model_signer,
            sequencer=sequencer,
        )


@contextmanager
def open_row_checker(project: Project, credential: Credential) -> Iterator[RowChecker | None]:
    """Open the check of all online rows as the worker; None if the project's store has none. Raises Unavailable."""
    from wellspring.stores.online.registry import load_online_store
    from wellspring.trust.identity.openbao import login_service
    from wellspring.trust.secrets.openbao import OpenBaoSecretStore

    store = load_online_store(project)
    if store.open_checker is None:
        yield None
        return
    socket = find_server_socket(project, "openbao")
    with login_service(socket, role_id=credential.role_id, wrapped_secret_id=credential.wrapped) as session:
        login = read_store_login(store, "worker", OpenBaoSecretStore(session))
    with closing(store.open_checker(project, login)) as checker:
        yield checker
