"""Build the enclave from its open ports: intake, tokenization and the sockets on which both are served."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from wellspring.bootstrap import open_ledger_index
from wellspring.bootstrap.enclave_ports import open_enclave_ports
from wellspring.bootstrap.policy_ports import open_released_policies
from wellspring.data.sources.registry import open_source
from wellspring.enclave.handlers import admission_handlers, intake_handlers, vault_handlers
from wellspring.enclave.service import Enclave, EnclaveDependencies
from wellspring.enclave.socket_server import SocketServer, SocketSpec, allowed_uids
from wellspring.enclave.source_login import SourceLogin
from wellspring.enclave.spool import open_spool
from wellspring.enclave.tokenization_service import TokenizationService
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.runtime.process import Credential


@contextmanager
def open_enclave(
    project: Project,
    credential: Credential,
    *,
    clock: Clock | None = None,
    on_login_lost: Callable[[], None] | None = None,
) -> Generator[Enclave]:
    """Open all ports, then the sockets. Closes them in reverse order. on_login_lost: see `open_enclave_ports`."""
    with (
        open_enclave_ports(project, credential, clock=clock, on_login_lost=on_login_lost) as ports,
        ExitStack() as stack,
    ):
        enclave = Enclave(
            EnclaveDependencies(
                project=project,
                store=ports.store,
                keys=ports.keys,
                open_source=lambda name: open_source(project, name, secrets=ports.secrets, clock=ports.clock),
                folder=project.enclave_dir / "originals",
                step=ports.step,
                clock=ports.clock,
                index=open_ledger_index(project),
            )
        )
        stack.callback(enclave.drain)
        tokenization = TokenizationService(
            project,
            ports.store,
            ports.tokenization_keys,
            load_policies=open_released_policies(project, open_ledger_index(project)).load,
            step=ports.step,
            clock=ports.clock,
        )
        uids = allowed_uids(project)
        open_file = functools.partial(open_spool, project.enclave_dir / "originals")
        server = SocketServer(
            (
                SocketSpec(
                    "intake",
                    project.socket_path("intake"),
                    uids["intake"],
                    intake_handlers(enclave, open_file),
                    {"store_credentials": SourceLogin(project, ports.secrets, step=ports.step).store_credentials},
                    admission_handlers(enclave, open_file),
                ),
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
