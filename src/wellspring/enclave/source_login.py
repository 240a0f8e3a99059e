"""Store the credentials of a source in OpenBao: the owner sends them, and only the enclave can read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from wellspring.data.sources.port import SourceKind
from wellspring.data.sources.registry import load_source_kind
from wellspring.enclave.socket_server import text_field
from wellspring.errors import NotFound, Refused
from wellspring.project import Project
from wellspring.records.observe import Recorder
from wellspring.runtime.service_users import read_service_users
from wellspring.trust.secrets.port import SecretStore
from wellspring.trust.vault.protocol import FrameMessage

MAX_VALUE_LENGTH = 32 * 1024


class SourceLogin:
    """Handles `store_credentials` on the intake socket. Neither the entry nor an error contains a value."""

    def __init__(self, project: Project, secrets: SecretStore, *, step: Recorder) -> None:
        self._project = project
        self._secrets = secrets
        self._step = step

    def store_credentials(self, request: FrameMessage, uid: int) -> JsonValue:
        """Replace the credentials of one source. Raises Refused (also for the worker), NotFound, ProjectError."""
        source = text_field(request, "source")
        settings = self._project.source_settings(source)
        with self._step("login_source", f"source:{source}") as act:
            if uid == read_service_users(self._project).uid_of("worker"):
                raise Refused("the worker may not change credentials", fix="run the command as the project's owner")
            path = require_own_secret(self._project, source)
            values = check_credentials(load_source_kind(settings.kind), request.get("values"))
            act.add_facts(keys=cast(JsonValue, sorted(values)), uid=uid)
            self._secrets.write_secret(path, values)
        return cast(JsonValue, sorted(values))


def require_own_secret(project: Project, source: str) -> str:
    """Return the path of a source's credentials. Raises Refused if it has none that a user may set."""
    settings = project.source_settings(source)
    path = settings.secret_path(source)
    if settings.embedded_server is not None:
        raise Refused(
            f"source {source!r} is served by `wellspring up`, which has made its credentials",
            fix="set the address of the vendor's server in wellspring.toml first",
        )
    if path is None:
        raise Refused(
            f"source {source!r} has no stored credentials: the machine's own identity is used",
            fix="change that in wellspring.toml first",
        )
    return path


def check_credentials(kind: SourceKind, values: JsonValue | Mapping[str, str]) -> dict[str, str]:
    """Return the credentials if they have exactly the keys of their kind. Raises Refused, NotFound."""
    names = [key.name for key in kind.secret_keys]
    if not isinstance(values, Mapping):
        raise Refused(
            "the credentials are not an object of texts", fix=f'write {{"{names[0]}": "...", ...}}' if names else ""
        )
    if unknown := sorted(set(values) - set(names)):
        # The unknown keys are not repeated: a secret may stand in the place of a key.
        raise NotFound(
            f"{len(unknown)} of the keys are unknown", fix=f"credentials of this kind have: {', '.join(names)}"
        )
    texts = {name: value for name, value in values.items() if isinstance(value, str) and value}
    if missing := [key.name for key in kind.secret_keys if key.required and key.name not in texts]:
        raise Refused(f"the credentials lack {', '.join(missing)}", fix="send each as a text that is not empty")
    if too_long := [name for name, value in texts.items() if len(value) > MAX_VALUE_LENGTH]:
        raise Refused(f"{too_long[0]} has more than {MAX_VALUE_LENGTH:,} characters", fix="check what was sent")
    return texts
