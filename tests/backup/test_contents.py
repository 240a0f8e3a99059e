from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.builders.backups import SETTINGS
from wellspring.backup.contents import ProjectContents, open_saved
from wellspring.errors import Refused
from wellspring.project import Project, load_project
from wellspring.runtime.privileges import ServicePrivileges, detect_privileges


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "wellspring.toml").write_bytes(SETTINGS)
    return load_project(tmp_path)


def write(project: Project, path: str, content: bytes = b"x") -> None:
    place = project.root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def shared_user(project: Project) -> ServicePrivileges:
    return detect_privileges(project)._replace(separation="process")


def list_files(project: Project, privileges: ServicePrivileges | None = None) -> set[str]:
    contents = ProjectContents(project, privileges or shared_user(project))
    return {str(path.path) for path in contents.list_paths() if not path.is_folder}


def test_state_and_configuration_are_saved(project: Project):
    saved = {
        "contracts/a.odcs.yaml",
        ".wellspring/ledger/checkpoint",
        "witness/key",
        ".wellspring/openbao/data/vault.db",
    }
    for path in saved:
        write(project, path)
    assert list_files(project) == {"wellspring.toml", *saved}


@pytest.mark.parametrize(
    "path",
    [
        ".wellspring/seal.key", ".wellspring/run.json", ".wellspring/tmp/enclave/drop", ".wellspring/logs/api.log",
        ".wellspring/postgres/data/postmaster.pid", ".wellspring/openbao/key.pem", ".git/config", "a/__pycache__/b.pyc",
        ".restore/wellspring.toml",
    ],
)  # fmt: skip
def test_the_master_key_and_what_each_start_writes_are_not_saved(project: Project, path: str):
    write(project, path)
    assert list_files(project) == {"wellspring.toml"}


def test_empty_folders_are_saved_and_links_are_not(project: Project):
    (project.root / ".wellspring/postgres/data/pg_notify").mkdir(parents=True)
    (project.root / "link").symlink_to("/etc/passwd")
    contents = list(ProjectContents(project, shared_user(project)).list_paths())
    assert Path(".wellspring/postgres/data/pg_notify") in {path.path for path in contents if path.is_folder}
    assert Path("link") not in {path.path for path in contents}


def test_secrets_and_files_that_only_grow_are_named(project: Project):
    contents = ProjectContents(project, shared_user(project))
    secrets = ("witness/key", ".wellspring/supervisor.key", ".wellspring/valkey/users.acl", "vendor/host_key")
    assert all(contents.is_secret(Path(path)) for path in secrets)
    assert not contents.is_secret(Path(".wellspring/ledger/checkpoint"))
    assert contents.is_appended(Path(".wellspring/journals/api/000000000000.log"))
    assert not contents.is_appended(Path(".wellspring/journals/api/lock"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives services users of their own")
def test_a_file_that_a_service_does_not_own_is_refused(project: Project):
    privileges = detect_privileges(project)._replace(separation="user")
    write(project, ".wellspring/jobs/queue.sqlite")
    with pytest.raises(Refused, match="does not belong to the user of worker"):
        list_files(project, privileges)
    os.chown(project.root / ".wellspring/jobs/queue.sqlite", privileges.uid_of("worker"), -1)
    assert ".wellspring/jobs/queue.sqlite" in list_files(project, privileges)


def test_a_name_that_is_not_utf_8_is_refused(project: Project):
    (project.root / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with pytest.raises(Refused, match="not UTF-8"):
        list_files(project)


def test_a_file_that_was_removed_meanwhile_is_left_out(project: Project):
    write(project, "a")
    for path in ProjectContents(project, shared_user(project)).list_paths():
        if path.path == Path("a"):
            (project.root / "a").unlink()
            with open_saved(path) as file:
                assert file is None
