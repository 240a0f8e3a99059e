"""Store secrets in OpenBao's key-value engine, version 2."""

from __future__ import annotations

from typing import Any

from wellspring.trust.identity.openbao import OpenBaoSession, map_errors

KV_MOUNT = "secret"


class OpenBaoSecretStore:
    """Secrets by path, each a small map of text. OpenBao's policies decide which paths a login can read."""

    def __init__(self, session: OpenBaoSession) -> None:
        self._kv: Any = session.client.secrets.kv.v2

    def read_secret(self, path: str) -> dict[str, str]:
        with map_errors(f"read the secret {path}"):
            response = self._kv.read_secret_version(path=path, mount_point=KV_MOUNT, raise_on_deleted_version=True)
        values: dict[str, Any] = response["data"]["data"]
        return {name: str(value) for name, value in values.items()}

    def write_secret(self, path: str, values: dict[str, str]) -> None:
        with map_errors(f"write the secret {path}"):
            self._kv.create_or_update_secret(path=path, secret=values, mount_point=KV_MOUNT)
