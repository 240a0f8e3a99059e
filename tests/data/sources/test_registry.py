"""Kinds of sources are found by entry point, and opened with the credentials of their source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.memory_secrets import MemorySecrets
from tests.builders.plugins import write_package
from wellspring.data.sources import registry
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import PROJECT_FILE, Project, load_project
from wellspring.records.clock import SystemClock

TOML = '[project]\nname = "plan"\ntenant = "t1"\n\n[sources.inbox]\nkind = "queue"\n'
PLUGIN = """
from typing import Literal
from wellspring.data.sources.port import SourceKind
from wellspring.settings import SourceSettings
class QueueSettings(SourceSettings):
    kind: Literal["queue"]
QUEUE = SourceKind(
    settings=QueueSettings, open=lambda context: context, packages=PACKAGES, install="pip install broker"
)
"""


def queue_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, packages: str = "()") -> Project:
    module = f"queue_{abs(hash((str(tmp_path), packages)))}"
    entry_points = {"wellspring.sources": {"queue": f"{module}:QUEUE"}}
    modules = {module: PLUGIN.replace("PACKAGES", packages)}
    monkeypatch.syspath_prepend(str(write_package(tmp_path / "site", "queue-source", entry_points, modules=modules)))
    (tmp_path / PROJECT_FILE).write_text(TOML)
    return load_project(tmp_path)


def test_a_source_of_another_package_gets_its_own_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = queue_project(tmp_path, monkeypatch)
    assert {"queue", "sftp"} <= set(registry.list_source_kinds())
    secrets = MemorySecrets({"enclave/sources/inbox": {"token": "x"}, "enclave/sources/other": {"token": "y"}})
    context = registry.open_source(project, "inbox", secrets=secrets, clock=SystemClock())
    assert (context.name, context.root, context.credentials) == ("inbox", tmp_path, {"token": "x"})  # type: ignore[attr-defined]


def test_a_source_without_credentials_names_the_command_that_stores_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = queue_project(tmp_path, monkeypatch)
    with pytest.raises(Refused, match="has no credentials") as refused:
        registry.open_source(project, "inbox", secrets=MemorySecrets({}), clock=SystemClock())
    assert refused.value.fix == "store them with `wellspring source login inbox`"


def test_a_source_that_lacks_its_package_names_file_line_and_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = queue_project(tmp_path, monkeypatch, packages='("no_such_broker", "json")')
    with pytest.raises(ProjectError) as error:
        registry.open_source(project, "inbox", secrets=MemorySecrets({}), clock=SystemClock())
    assert error.value.what.startswith(f"{tmp_path / PROJECT_FILE}:6: kind = 'queue' needs no_such_broker")
    assert error.value.fix == "pip install broker"


def test_an_unknown_source_suggests_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = queue_project(tmp_path, monkeypatch)
    with pytest.raises(NotFound, match="no source 'inbix'"):
        registry.open_source(project, "inbix", secrets=MemorySecrets({}), clock=SystemClock())
