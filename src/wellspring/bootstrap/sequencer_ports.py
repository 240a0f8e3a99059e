"""Open what the sequencer uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from wellspring.bootstrap import LedgerAccess, open_ledger, request_journal_key
from wellspring.project import Project
from wellspring.runtime.process import Credential
from wellspring.runtime.server_sockets import find_server_socket

if TYPE_CHECKING:
    from wellspring.trust.keys.port import LogKeyVersions
    from wellspring.trust.ledger.sequencer import Sequencer


class SequencerPorts(NamedTuple):
    """The open ports of the sequencer: the ledger with its own journal, and the sequencer itself."""

    ledger: LedgerAccess
    sequencer: Sequencer
    key_versions: LogKeyVersions


@contextmanager
def open_sequencer(
    project: Project, credential: Credential, *, on_login_lost: Callable[[], None] | None = None
) -> Iterator[SequencerPorts]:
    """Log in, and open the sequencer and its journal. Raises Unavailable when OpenBao is down, Refused for an invalid
    login.

    on_login_lost: called from another thread when OpenBao no longer accepts the login.
    """
    from wellspring.trust.identity.openbao import login_service
    from wellspring.trust.keys.openbao import OpenBaoKeyVersions, OpenBaoSigner
    from wellspring.trust.ledger.journal_key import read_service_keys
    from wellspring.trust.ledger.sequencer import Sequencer
    from wellspring.trust.ledger.witness import RemoteWitness

    socket = find_server_socket(project, "openbao")
    with ExitStack() as stack:
        session = stack.enter_context(
            login_service(
                socket, role_id=credential.role_id, wrapped_secret_id=credential.wrapped, on_lost=on_login_lost
            )
        )
        ledger = stack.enter_context(open_ledger(project, request_journal_key(session, "sequencer")))
        paths, key_versions = ledger.tree.paths, OpenBaoKeyVersions(session)
        sequencer = Sequencer(
            paths=paths,
            journals=project.journals_dir,
            origin=paths.read("origin").decode().strip(),
            signer=OpenBaoSigner(session),
            witness=RemoteWitness(find_server_socket(project, "witness")),
            index=ledger.index,
            service_keys=read_service_keys(project.state_dir),
            crash_point=ledger.step.crash_point,
            key_versions=key_versions,
        )
        yield SequencerPorts(ledger, sequencer, key_versions)
