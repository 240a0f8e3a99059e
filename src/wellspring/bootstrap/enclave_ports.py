"""Open the ports of the enclave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wellspring.bootstrap import open_recorder, request_journal_key
from wellspring.records.clock import Clock
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.simulated_clock import open_clock

if TYPE_CHECKING:
    from wellspring.project import Project
    from wellspring.records.observe import Recorder
    from wellspring.runtime.process import Credential
    from wellspring.trust.keys.port import DataKeys
    from wellspring.trust.secrets.port import SecretStore
    from wellspring.trust.vault.postgres import VaultStore


@dataclass(frozen=True)
class EnclavePorts:
    """The open ports of the enclave. tokenization_keys: with their own connection, so that no intake delays them."""

    project: Project
    clock: Clock
    step: Recorder
    secrets: SecretStore
    keys: DataKeys
    tokenization_keys: DataKeys
    store: VaultStore


@contextmanager
def open_enclave_ports(
    project: Project,
    credential: Credential,
    *,
    clock: Clock | None = None,
    on_login_lost: Callable[[], None] | None = None,
) -> Iterator[EnclavePorts]:
    """Log in and open the enclave's ports. Raises Unavailable when a server is down, Refused for an invalid login.

    on_login_lost: called from another thread when OpenBao no longer accepts the login.
    """
    from wellspring.trust.identity.openbao import login_service, open_client
    from wellspring.trust.keys.openbao import OpenBaoDataKeys
    from wellspring.trust.secrets.openbao import OpenBaoSecretStore
    from wellspring.trust.vault.postgres import VaultStore
    from wellspring.trust.vault.postgres_outbox import OUTBOX_SECRET

    clock, socket = clock or open_clock(project), find_server_socket(project, "openbao")
    with ExitStack() as stack:
        session = login_service(
            socket, role_id=credential.role_id, wrapped_secret_id=credential.wrapped, on_lost=on_login_lost
        )
        stack.callback(session.close)
        secrets = OpenBaoSecretStore(session)
        store = VaultStore(
            find_server_socket(project, "postgres"),
            **secrets.read_secret("enclave/postgres"),
            outbox_key=bytes.fromhex(secrets.read_secret(OUTBOX_SECRET)["key"]),
        )
        stack.callback(store.close)
        key_client = open_client(socket, session.client.token)
        stack.callback(key_client.adapter.close)
        yield EnclavePorts(
            project=project,
            clock=clock,
            step=stack.enter_context(
                open_recorder(project, request_journal_key(session, "enclave"), clock=clock, crash_at=project.crash_at)
            ),
            secrets=secrets,
            keys=OpenBaoDataKeys(session),
            tokenization_keys=OpenBaoDataKeys(session, client=key_client),
            store=store,
        )
