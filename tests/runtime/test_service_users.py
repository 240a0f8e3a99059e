"""The numbers of a project's services: distinct, inside one range, and disjoint between two projects."""

import itertools
from pathlib import Path

import pytest

from wellspring.project import FIRST_UIDS, RESERVED_UIDS, load_project
from wellspring.runtime.service_users import (
    SERVICE_SLOTS,
    ServiceUsers,
    read_first_uid,
    read_service_users,
    uid_range_path,
)


def test_each_service_has_a_number_of_its_own_and_none_is_nobody():
    users = ServiceUsers(64132)
    assert len(users.numbers) == len(SERVICE_SLOTS) + 3
    assert users.numbers <= set(range(64132, 64132 + 16))
    assert 65534 not in set().union(*(ServiceUsers(first).numbers for first in FIRST_UIDS))


def test_two_projects_share_no_uid_and_no_group():
    for lower, upper in itertools.combinations(FIRST_UIDS, 2):
        assert not ServiceUsers(lower).numbers & ServiceUsers(upper).numbers
    users = ServiceUsers(FIRST_UIDS[-1])
    for service in SERVICE_SLOTS:
        assert {users.gid_of(service), *users.groups_of(service)} <= users.numbers


def test_every_number_is_reserved():
    assert all(ServiceUsers(first).numbers <= RESERVED_UIDS for first in FIRST_UIDS)
    # A number between the services of two projects is free for a caller.
    assert 64120 not in RESERVED_UIDS


def test_only_the_enclave_shares_a_group_with_the_database():
    users = ServiceUsers()
    gid = users.gid_of("postgres")
    assert [service for service in SERVICE_SLOTS if gid in (users.gid_of(service), *users.groups_of(service))] == [
        "enclave",
        "postgres",
    ]


def test_code_of_the_project_is_in_no_group_of_another_service_and_only_the_worker_is_in_its_own():
    users = ServiceUsers()
    # With these it enters the folders in which its files are.
    assert users.groups_of("code") == (users.group_id("project"), users.group_id("lake"))
    gid = users.gid_of("code")
    members = [service for service in SERVICE_SLOTS if gid in (users.gid_of(service), *users.groups_of(service))]
    assert sorted(members) == ["code", "worker"]


@pytest.mark.parametrize("text", ["64101", "0", "64133\n", "-64132", "x", "", "64997", "١٢"])
def test_a_damaged_file_names_no_range(tmp_path: Path, text: str):
    (tmp_path / "uid-range").write_text(text)
    assert read_first_uid(tmp_path / "uid-range") is None


def test_a_project_uses_the_range_of_its_file(tmp_path: Path):
    (tmp_path / "wellspring.toml").write_text('[project]\nname = "shop"\ntenant = "acme"\n[sources]\n')
    project = load_project(tmp_path)
    assert read_service_users(project) == ServiceUsers(64100)
    project.state_dir.mkdir()
    uid_range_path(project).write_text("64164\n")
    assert read_service_users(project) == ServiceUsers(64164)
