"""Put the enclave's process together: its login, its keys, its database, its books, its doors."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from wellspring.data.sources.port import Source
from wellspring.enclave.conversation import Conversations
from wellspring.enclave.doors import Door, Doors, allowed
from wellspring.enclave.facts import SERVICE
from wellspring.enclave.operations import intake_door, vault_door
from wellspring.enclave.service import Enclave, Ports
from wellspring.errors import Unavailable
from wellspring.observe.lineage import Lineage
from wellspring.observe.metrics import Metrics
from wellspring.observe.step import Steps
from wellspring.project import Project
from wellspring.records.clock import Clock, SystemClock
from wellspring.trust.identity.openbao import connect, login
from wellspring.trust.keys.openbao import OpenBaoKeys
from wellspring.trust.ledger.journal import Journal
from wellspring.trust.secrets.openbao import OpenBaoSecrets
from wellspring.trust.secrets.port import Secrets
from wellspring.trust.vault.postgres import VaultStore


@contextmanager
def opened(project: Project, *, role_id: str, wrapped: str, clock: Clock | None = None) -> Generator[Enclave]:
    """Open everything, then the doors; close in the other order."""
    clock = clock or SystemClock()
    with ExitStack() as stack:
        session = login(project.socket("openbao"), role_id=role_id, wrapped=wrapped)
        stack.callback(session.close)
        secrets = OpenBaoSecrets(session)
        database = secrets.read("enclave/postgres")
        store = VaultStore(
            host=str(project.socket("postgres")),
            user=database["user"],
            password=database["password"],
            database=database["database"],
        )
        stack.callback(store.close)
        journal = Journal(project.journals, SERVICE, tenant=project.tenant, clock=clock)
        stack.callback(journal.close)
        step = Steps(
            service=SERVICE,
            actor=session.principal.name,
            tenant=project.tenant,
            journal=journal,
            metrics=Metrics(project.state / "metrics", SERVICE),
            lineage=Lineage(project.state / "lineage" / f"{SERVICE}.jsonl", project.name),
            clock=clock,
            crash_at=project.crash_at,
        )
        enclave = Enclave(
            Ports(
                project=project,
                store=store,
                keys=OpenBaoKeys(session),
                source=lambda name: source(project, name, secrets, clock),
                folder=project.enclave / "originals",
                step=step,
                clock=clock,
            )
        )
        stack.callback(enclave.rest)
        # A line of its own to the key server: a conversation waits for no intake, and shares no session with one.
        line = connect(project.socket("openbao"), session.client.token)
        stack.callback(line.adapter.close)
        talks = Conversations(project, store, OpenBaoKeys(session, client=line), step=step, clock=clock)
        uids = allowed(project)
        doors = Doors(
            (
                Door("intake", project.socket("intake"), uids["intake"], intake_door(enclave)),
                Door("vault", project.socket("vault"), uids["vault"], vault_door(step), {"tokenize": talks.tokenize}),
            ),
            step=step,
            clock=clock,
        )
        stack.callback(doors.close)
        yield enclave


def source(project: Project, name: str, secrets: Secrets, clock: Clock) -> Source:
    """Open a source of the project. Raises NotFound, ProjectError."""
    from wellspring.data.sources.sftp import SftpSource

    section = project.source(name)
    return SftpSource(
        name,
        address=lambda: address(project, name),
        user=section.user,
        folder=section.folder,
        private_key=secrets.read("enclave/sftp")["private_key"],
        known_hosts=project.root / section.known_hosts,
        settle_seconds=section.settle_seconds,
        clock=clock,
    )


def address(project: Project, name: str) -> tuple[str, int]:
    """Return host and port of a source. The embedded vendor stands where its pinned host key says: run.json, which
    names its port too, is written only after this process has closed all other files to itself."""
    section = project.source(name)
    if section.address != "embedded":
        host, _, port = section.address.rpartition(":")
        return (host, int(port)) if host and port.isdigit() else (section.address, 22)
    try:
        pinned = (project.root / section.known_hosts).read_text(encoding="utf-8")
    except FileNotFoundError:
        pinned = ""
    found = re.match(r"\[(127\.0\.0\.1)\]:([0-9]+) ", pinned)
    if found is None:
        raise Unavailable(f"the embedded vendor of {name!r} is not up", fix="run `wellspring up`")
    return found[1], int(found[2])
