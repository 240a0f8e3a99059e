"""Build the enclave from its open ports: intake, tokenization and the sockets on which both are served."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from wellspring.bootstrap import open_enclave_ports
from wellspring.data.sources.port import FileSource
from wellspring.enclave.handlers import intake_handlers, vault_handlers
from wellspring.enclave.service import Enclave, EnclaveDependencies
from wellspring.enclave.socket_server import SocketServer, SocketSpec, allowed_uids
from wellspring.enclave.tokenization_service import TokenizationService
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.runtime.process import Credential
from wellspring.trust.secrets.port import SecretStore


@contextmanager
def open_enclave(project: Project, credential: Credential, *, clock: Clock | None = None) -> Generator[Enclave]:
    """Open all ports, then the sockets. Closes them in reverse order."""
    with open_enclave_ports(project, credential, clock=clock) as ports, ExitStack() as stack:
        enclave = Enclave(
            EnclaveDependencies(
                project=project,
                store=ports.store,
                keys=ports.keys,
                open_source=lambda name: open_source(project, name, ports.secrets, ports.clock),
                folder=project.enclave_dir / "originals",
                step=ports.step,
                clock=ports.clock,
            )
        )
        stack.callback(enclave.drain)
        tokenization = TokenizationService(
            project, ports.store, ports.tokenization_keys, step=ports.step, clock=ports.clock
        )
        uids = allowed_uids(project)
        server = SocketServer(
            (
                SocketSpec("intake", project.socket_path("intake"), uids["intake"], intake_handlers(enclave)),
                SocketSpec(
                    "vault",
                    project.socket_path("vault"),
                    uids["vault"],
                    vault_handlers(ports.step),
                    {"tokenize": tokenization.tokenize_values},
                ),
            ),
            step=ports.step,
            clock=ports.clock,
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
