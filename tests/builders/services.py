"""Files and secrets of services, for tests of their separation."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wellspring.runtime.privileges import (
    ServicePrivileges,
)

# Whose each secret is; None: whoever started the supervisor.
SECRETS = {
    ".wellspring/seal.key": "keys",
    ".wellspring/supervisor.key": None,
    ".wellspring/openbao/data/x": "keys",
    ".wellspring/openbao/audit.log": "keys",
    ".wellspring/postgres/data/x": "postgres",
    ".wellspring/enclave/x": "enclave",
    "witness/key": "witness",
    "vendor/host_key": "vendor",
    ".wellspring/valkey/users.acl": "valkey",
    ".wellspring/mlflow/server.pem": "mlflow",
    ".wellspring/tmp/worker/mlflow-client.pem": "worker",
}


def read(service_privileges: ServicePrivileges, service: str, path: Path, content: bytes = b"secret") -> bool:
    """Return whether a service without capabilities can read a file."""
    argv = service_privileges._replace(closed_folders=False).command_for(service, ["cat", str(path)])
    return subprocess.run(argv, capture_output=True, check=False).stdout == content
