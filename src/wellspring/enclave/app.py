"""Build the enclave: login, keys, database, journal, metrics and sockets."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from wellspring.data.sources.port import FileSource
from wellspring.enclave.handlers import intake_handlers, vault_handlers
from wellspring.enclave.outbox import SERVICE
from wellspring.enclave.service import Enclave, EnclaveDependencies
from wellspring.enclave.socket_server import SocketServer, SocketSpec, allowed_uids
from wellspring.enclave.tokenization_service import TokenizationService
from wellspring.errors import Unavailable
from wellspring.observe.lineage import LineageWriter
from wellspring.observe.metrics import StepMetrics
from wellspring.observe.recorder import StepRecorder
from wellspring.project import Project
from wellspring.records.clock import Clock, SystemClock
from wellspring.trust.identity.openbao import login_service, open_client
from wellspring.trust.keys.openbao import OpenBaoDataKeys
from wellspring.trust.ledger.journal import Journal
from wellspring.trust.secrets.openbao import OpenBaoSecretStore
from wellspring.trust.secrets.port import SecretStore
from wellspring.trust.vault.postgres import VaultStore


@contextmanager
def open_enclave(project: Project, *, role_id: str, wrapped: str, clock: Clock | None = None) -> Generator[Enclave]:
    """Open all dependencies, then the sockets. Closes them in reverse order."""
    clock = clock or SystemClock()
    with ExitStack() as stack:
        session = login_service(project.socket_path("openbao"), role_id=role_id, wrapped_secret_id=wrapped)
        stack.callback(session.close)
        secrets = OpenBaoSecretStore(session)
        database = secrets.read_secret("enclave/postgres")
        store = VaultStore(
            host=str(project.socket_path("postgres")),
            user=database["user"],
            password=database["password"],
            database=database["database"],
        )
        stack.callback(store.close)
        journal = Journal(project.journals_dir, SERVICE, tenant=project.tenant, clock=clock)
        stack.callback(journal.close)
        step = StepRecorder(
            service=SERVICE,
            actor=session.principal.name,
            tenant=project.tenant,
            journal=journal,
            metrics=StepMetrics(project.state_dir / "metrics", SERVICE),
            lineage=LineageWriter(project.state_dir / "lineage" / f"{SERVICE}.jsonl", project.name),
            clock=clock,
            crash_at=project.crash_at,
        )
        enclave = Enclave(
            EnclaveDependencies(
                project=project,
                store=store,
                keys=OpenBaoDataKeys(session),
                open_source=lambda name: open_source(project, name, secrets, clock),
                folder=project.enclave_dir / "originals",
                step=step,
                clock=clock,
            )
        )
        stack.callback(enclave.drain)
        # Tokenization has its own connection to the key server, so that it does not wait for an intake.
        key_client = open_client(project.socket_path("openbao"), session.client.token)
        stack.callback(key_client.adapter.close)
        tokenization = TokenizationService(
            project, store, OpenBaoDataKeys(session, client=key_client), step=step, clock=clock
        )
        uids = allowed_uids(project)
        server = SocketServer(
            (
                SocketSpec("intake", project.socket_path("intake"), uids["intake"], intake_handlers(enclave)),
                SocketSpec(
                    "vault",
                    project.socket_path("vault"),
                    uids["vault"],
                    vault_handlers(step),
                    {"tokenize": tokenization.tokenize_values},
                ),
            ),
            step=step,
            clock=clock,
        )
        stack.callback(server.close)
        yield enclave


def open_source(project: Project, name: str, secrets: SecretStore, clock: Clock) -> FileSource:
    """Open a source of the project by name. Raises NotFound, ProjectError."""
    from wellspring.data.sources.sftp import SftpSource

    section = project.source_settings(name)
    return SftpSource(
        name,
        address=lambda: source_address(project, name),
        user=section.user,
        folder=section.folder,
        private_key=secrets.read_secret("enclave/sftp")["private_key"],
        known_hosts=project.root / section.known_hosts,
        settle_seconds=section.settle_seconds,
        clock=clock,
    )


def source_address(project: Project, name: str) -> tuple[str, int]:
    """Return host and port of a source. Raises Unavailable if the embedded vendor is not running.

    The port of the embedded vendor comes from its pinned host key: run.json is written after this process has confined
    itself, so it cannot read that file.
    """
    section = project.source_settings(name)
    if section.address != "embedded":
        host, _, port = section.address.rpartition(":")
        return (host, int(port)) if host and port.isdigit() else (section.address, 22)
    try:
        pinned_hosts = (project.root / section.known_hosts).read_text(encoding="utf-8")
    except FileNotFoundError:
        pinned_hosts = ""
    match = re.match(r"\[(127\.0\.0\.1)\]:([0-9]+) ", pinned_hosts)
    if match is None:
        raise Unavailable(f"the embedded vendor of {name!r} is not running", fix="run `wellspring up`")
    return match[1], int(match[2])
