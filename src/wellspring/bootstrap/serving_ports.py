"""Open what the prediction service of the API uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wellspring.bootstrap import open_ledger, open_release_loaders, read_store_login, request_journal_key
from wellspring.bootstrap.policy_ports import open_released_policies
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.runtime.process import Credential
from wellspring.runtime.server_sockets import find_server_socket

if TYPE_CHECKING:
    from wellspring.serving.service import ServiceDependencies


@contextmanager
def open_serving(
    project: Project, credential: Credential, *, clock: Clock | None = None
) -> Iterator[ServiceDependencies]:
    """Log in, read the secrets of the API and get a journal key, log out, and open what the prediction service uses.

    Raises Unavailable when OpenBao is down, Refused for an invalid login. Predictions do not need OpenBao.
    """
    from wellspring.lake.editions import EditionStore
    from wellspring.models.releases.store import ReleaseStore
    from wellspring.serving.policy_reloader import PolicyReloader
    from wellspring.serving.release_cache import PROVED_ACTIONS, ReleaseCache
    from wellspring.serving.service import ServiceDependencies
    from wellspring.stores.online.registry import load_online_store
    from wellspring.trust.answer_signing import AnswerSigner
    from wellspring.trust.identity.openbao import login_service
    from wellspring.trust.keys.openbao import OpenBaoSigner, OpenBaoVersionedSigner
    from wellspring.trust.ledger.proved_entries import ProvedEntries
    from wellspring.trust.secrets.openbao import OpenBaoSecretStore
    from wellspring_verify import notes

    socket, online_store = find_server_socket(project, "openbao"), load_online_store(project)
    with login_service(socket, role_id=credential.role_id, wrapped_secret_id=credential.wrapped) as session:
        store_login = read_store_login(online_store, "api", OpenBaoSecretStore(session))
        model_public_keys = OpenBaoVersionedSigner(session, "models").public_keys()
        # Not from the ledger's folder: whoever writes there could put another log and its key in place.
        log_public_key = OpenBaoSigner(session, "ledger").public_key()
        journal_key = request_journal_key(session, "api")
    with open_ledger(project, journal_key, clock=clock) as ledger:
        step, clock = ledger.step, ledger.clock
        origin = ledger.tree.paths.read("origin").decode().strip()
        model_keys = [
            notes.VerifierKey(f"{origin}/models", notes.KIND_LOG, public_key) for public_key in model_public_keys
        ]
        loaders = open_release_loaders(project, clock, model_keys)
        yield ServiceDependencies(
            project_name=project.name,
            release_cache=ReleaseCache(
                ReleaseStore(project.models_dir),
                load_release=loaders.load_release,
                log=ProvedEntries(
                    ledger.tree, notes.VerifierKey(origin, notes.KIND_LOG, log_public_key), PROVED_ACTIONS
                ),
                step=step,
                clock=clock,
            ),
            policy_reloader=PolicyReloader(open_released_policies(project, ledger.index), clock),
            answer_signer=AnswerSigner(step=step, clock=clock),
            editions=EditionStore(project.lake_dir / "editions"),
            load_views=loaders.load_views,
            open_reader=lambda views: online_store.open_reader(project, views, store_login),
            load_token_domains=loaders.load_token_domains,
            step=step,
            clock=clock,
        )
