"""The locks that a project names: their settings, what is missing, and what is not valid."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project, load_project
from wellspring.stores.locks.registry import find_lock_problems, list_credential_files, open_resource_locks

HEAD = '[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n[locks]\n'
TLS = (
    'kind = "postgres"\n[locks.options]\naddress = "db.example.com:5432"\ndatabase = "leases"\nuser = "worker"\n'
    'certificate = "tls/worker.pem"\nkey = "tls/worker.key"\nca_bundle = "tls/ca.pem"\n'
)
SOCKET = 'kind = "postgres"\n[locks.options]\naddress = "/nowhere"\ndatabase = "leases"\nuser = "worker"\n'


def project_with(folder: Path, text: str) -> Project:
    (folder / "wellspring.toml").write_text(HEAD + text)
    return load_project(folder)


def test_files_are_the_default(tmp_path: Path):
    project = project_with(tmp_path, "")
    (project.jobs_dir / "locks").mkdir(parents=True)
    with closing(open_resource_locks(project)) as locks:
        assert locks.acquire("landed", "job:1").number == 1
    assert (list_credential_files(project), list(find_lock_problems(project))) == ((), [])


def test_the_files_of_a_login_are_found_and_missing_ones_are_named(tmp_path: Path):
    project = project_with(tmp_path, TLS)
    files = tuple(tmp_path / "tls" / name for name in ("worker.pem", "worker.key", "ca.pem"))
    assert list_credential_files(project) == files
    assert list(find_lock_problems(project)) == [f"the file {file} does not exist" for file in files]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "postgre"\n', "unknown kind of locks 'postgre'"),
        (SOCKET + "lease = 5\n", r"unknown key 'lease' in \[locks.options\]; there is: address"),
        (SOCKET + "lease_seconds = 0\n", r"'lease_seconds' in \[locks.options\]"),
        (SOCKET + 'key = "k"\n', r"^\[locks.options\]: a Unix socket needs no key"),
        (TLS.replace("ca_bundle", "#"), "reached by TLS: set ca_bundle"),
        (SOCKET.replace("/nowhere", "db.example.com"), r"'address' in \[locks.options\]"),
        ("[locks.options]\nlease_seconds = 5\n", r"unknown key 'lease_seconds' in \[locks.options\]"),
    ],
)
def test_settings_that_are_not_valid_are_errors_of_the_project(tmp_path: Path, text: str, message: str):
    with pytest.raises(ProjectError, match=message):
        list(find_lock_problems(project_with(tmp_path, text)))


def test_an_unknown_key_of_the_table_is_named_with_its_line(tmp_path: Path):
    with pytest.raises(ProjectError, match=r"wellspring.toml:7: unknown key 'locks.kin'; did you mean 'kind'"):
        project_with(tmp_path, 'kin = "file"\n')


def test_a_server_that_does_not_respond_is_unavailable(tmp_path: Path):
    with pytest.raises(Unavailable, match="leases in PostgreSQL"):
        open_resource_locks(project_with(tmp_path, SOCKET))
