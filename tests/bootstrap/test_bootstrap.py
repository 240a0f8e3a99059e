"""What is opened without any server, what needs one, and that all of it is closed again."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.builders.journal_keys import journal_key
from tests.builders.ledger import JournalStep, Ledger
from tests.builders.memory_secrets import MemorySecrets
from tests.builders.recording_step import FixedClock
from wellspring import bootstrap
from wellspring.bootstrap import open_ledger, open_ledger_index, open_platform
from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project, load_project
from wellspring.runtime.process import Credential
from wellspring.serving import loaded_release
from wellspring.stores.locks.port import ReadOnlyFence
from wellspring.stores.online.port import OnlineStoreAdapter, StoreLogin
from wellspring.trust.ledger import journal
from wellspring_verify import notes

TOML = '[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n'


@pytest.fixture
def project_value(tmp_path: Path) -> Project:
    """A project with the folders that the worker writes."""
    (tmp_path / "wellspring.toml").write_text(TOML)
    project = load_project(tmp_path)
    for folder in (project.journals_dir, project.ledger_dir, project.lake_dir, project.state_dir / "metrics"):
        folder.mkdir(parents=True)
    (project.state_dir / "lineage").mkdir()
    return project


def test_records_need_no_server_and_write_the_services_own_journal(project_value: Project):
    clock = FixedClock()
    with (
        open_ledger(project_value, journal_key("worker"), clock=clock) as records,
        records.step("prove", "drop:1", facts={"n": 1}),
    ):
        pass
    lines = [content for _, content in journal.read_lines(project_value.journals_dir, "worker")]
    assert len(lines) == 1
    for output in (b'"actor":"service:worker"', b'"tenant":"acme"', b'"known_since":"2026-11-25T12:00:00.000000Z"'):
        assert output in lines[0]
    assert (project_value.state_dir / "lineage" / "worker" / "worker.jsonl").read_bytes().count(b"\n") == 2


def test_an_online_store_gets_the_login_of_the_service_or_an_empty_one():
    secrets = MemorySecrets({"api/table": {"user": "api", "password": "p"}, "api/online_rows": {"key": "07"}})
    with_login = OnlineStoreAdapter(cast(Any, print), cast(Any, print), secret="table")
    without_login = OnlineStoreAdapter(cast(Any, print), cast(Any, print))
    assert bootstrap.read_store_login(with_login, "api", secrets) == StoreLogin("api", "p", b"\7")
    assert bootstrap.read_store_login(without_login, "api", secrets) == StoreLogin("", "", b"\7")


def test_an_empty_ledger_answers_with_nothing(project_value: Project):
    with open_ledger(project_value, journal_key("worker")) as records:
        assert records.tree.size == 0
        assert records.index.list_entries() == []


def test_the_journal_is_let_go_also_when_the_run_fails(project_value: Project):
    with pytest.raises(KeyError), open_ledger(project_value, journal_key("worker")):
        raise KeyError
    with open_ledger(project_value, journal_key("worker")):
        pass


def test_with_the_servers_down_the_platform_does_not_open_and_leaks_no_descriptor(project_value: Project):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with (
            pytest.raises(Unavailable),
            open_platform(project_value, Credential("r-1", "w"), project_code=cast(Any, None), fence=ReadOnlyFence()),
        ):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_assembly_is_frozen(project_value: Project):
    with open_ledger(project_value, journal_key("worker")) as records, pytest.raises(dataclasses.FrozenInstanceError):
        records.clock = FixedClock()  # type: ignore[misc]


def test_two_projects_live_in_one_process(project_value: Project, tmp_path: Path):
    second_value = tmp_path / "other"
    second_value.mkdir()
    (second_value / "wellspring.toml").write_text(TOML.replace("acme", "globex"))
    second = load_project(second_value)
    for folder in (second.journals_dir, second.ledger_dir, second.state_dir / "metrics", second.state_dir / "lineage"):
        folder.mkdir(parents=True)
    with open_ledger(project_value, journal_key("worker")) as item, open_ledger(second, journal_key("worker")) as two:
        for records in (item, two):
            with records.step("prove", "drop:1"):
                pass
    for project in (project_value, second):
        lines = [content for _, content in journal.read_lines(project.journals_dir, "worker")]
        assert [project.tenant.encode() in line for line in lines] == [True]


def test_importing_it_loads_no_vendor():
    heavy = "pyarrow polars duckdb pyiceberg sqlalchemy asyncssh psycopg numpy hvac openlineage prometheus_client rich"
    code = f"import sys, wellspring.bootstrap; print(sorted(set({heavy!r}.split()) & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"


def test_a_promotion_loads_what_it_makes_live_by_the_very_checks_of_the_api(
    project_value: Project, monkeypatch: pytest.MonkeyPatch
):
    key = notes.VerifierKey("example.com/tests/models", notes.KIND_LOG, bytes(32))
    loaded: list[dict[str, Any]] = []
    monkeypatch.setattr(loaded_release, "load_release", lambda release, **arguments: loaded.append(arguments))
    monkeypatch.setattr(bootstrap, "open_model_registry", lambda _: None)
    monkeypatch.setattr(bootstrap, "open_model_store", lambda *_: SimpleNamespace(keys=(key,)))
    project = SimpleNamespace(
        project=project_value, clock=FixedClock(), lake=None, ledger=SimpleNamespace(index=None),
        model_signer=SimpleNamespace(public_keys=lambda: (bytes(32),)),
    )  # fmt: skip
    bootstrap.open_models(cast(Any, project)).releases.load_check(cast(Any, None))
    bootstrap.open_release_loaders(project_value, FixedClock(), (key,)).load_release(cast(Any, None))
    assert [sorted(item) for item in loaded] == [["scorer", "token_domains", "views"]] * 2
    assert [item["scorer"].keywords["keys"] for item in loaded] == [(key,), (key,)]
    # The contracts as they stand when a release is loaded, and none yet.
    assert loaded[0]["token_domains"]() == {}
    # A mistake in one of them is no reason to keep a release from being served, or taken back.
    project_value.contracts_dir.mkdir(exist_ok=True)
    (project_value.contracts_dir / "claim.odcs.yaml").write_text("not: a contract")
    (project_value.contracts_dir / "notes.yaml").touch()
    assert loaded[0]["token_domains"]() == {}


def test_a_process_of_a_governed_project_refuses_a_file_that_says_development(tmp_path: Path):
    file = tmp_path / "wellspring.toml"
    file.write_text(TOML.replace("[sources.vendor]", 'mode = "development"\n[sources.vendor]'))
    project = load_project(tmp_path)
    # A new project has no index yet, and no entry.
    assert open_ledger_index(project).list_entries(action="mode") == []
    ledger = Ledger(project.state_dir)
    with JournalStep(ledger, "supervisor")("mode", "project:tests", facts={"mode": "governed"}):
        pass
    ledger.sequencer.integrate()
    ledger.close()
    with pytest.raises(ProjectError, match=r"wellspring.toml:4: mode is development, and this project is governed"):
        open_ledger_index(project)
    file.write_text(TOML)
    assert len(open_ledger_index(load_project(tmp_path)).list_entries(action="mode")) == 1
