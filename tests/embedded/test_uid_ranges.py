"""Ranges of uids: one for each project, kept across starts, taken back from removed projects, given to copies anew."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from wellspring.embedded import layout, uid_ranges
from wellspring.errors import Unavailable
from wellspring.project import FIRST_UIDS, Project, load_project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.service_users import ServiceUsers, read_service_users, uid_range_path

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give services users of their own")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uid-ranges"


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        project.state_dir.mkdir()
        yield project


def claim(project: Project, folder: Path) -> int:
    users = uid_ranges.claim_uid_range(project, detect_privileges(project), folder=folder).users
    assert read_service_users(project) == users
    assert detect_privileges(project).users == users
    return users.first_uid


def copy_project(project: Project, target: Path) -> Project:
    subprocess.run(["cp", "-a", str(project.root), str(target)], check=True)
    return load_project(target)


def test_each_project_gets_a_range_and_keeps_it(project: Project, folder: Path):
    assert claim(project, folder) == FIRST_UIDS[0]
    with projects.create_project() as neighbor:
        neighbor.state_dir.mkdir()
        assert claim(neighbor, folder) == FIRST_UIDS[1]
        assert (claim(project, folder), claim(neighbor, folder)) == (FIRST_UIDS[0], FIRST_UIDS[1])
    assert (folder / "64100").read_text() == f"{project.root}\n"
    assert uid_range_path(project).stat().st_mode & 0o777 == 0o640


def test_the_range_of_a_removed_project_is_taken_back(project: Project, folder: Path):
    with projects.create_project() as removed:
        removed.state_dir.mkdir()
        assert claim(removed, folder) == FIRST_UIDS[0]
    assert claim(project, folder) == FIRST_UIDS[0]
    # `clean` gives it back at once.
    uid_ranges.release_uid_range(project, folder=folder)
    assert list(folder.iterdir()) == []


def test_a_moved_project_keeps_its_range(project: Project, folder: Path, tmp_path: Path):
    first_uid = claim(project, folder)
    moved = copy_project(project, tmp_path / "moved")
    shutil.rmtree(project.state_dir)
    assert claim(moved, folder) == first_uid
    assert (folder / str(first_uid)).read_text() == f"{moved.root}\n"
    project.state_dir.mkdir()


def test_a_copied_project_gets_another_range_and_its_files_new_owners(project: Project, folder: Path, tmp_path: Path):
    first_uid = claim(project, folder)
    layout.create_folders(project, detect_privileges(project))
    inner = project.enclave_dir / "originals" / "a"
    inner.parent.mkdir()
    inner.touch()
    (project.enclave_dir / "link").symlink_to("/etc/passwd")
    for path in (inner.parent, inner):
        os.chown(path, *[ServiceUsers(first_uid).uid_of("enclave")] * 2)
    copied = copy_project(project, tmp_path / "copied")
    users = ServiceUsers(claim(copied, folder))
    assert users.first_uid != first_uid
    owners = {
        path.relative_to(root): (path.lstat().st_uid, path.lstat().st_gid)
        for root in (project.root, copied.root)
        for path in sorted(root.rglob("*"))
        if root == copied.root
    }
    old = ServiceUsers(first_uid)
    assert old.numbers & {number for owner in owners.values() for number in owner} == set()
    assert owners[Path(".wellspring/enclave/originals/a")] == (users.uid_of("enclave"), users.gid_of("enclave"))
    assert owners[Path(".wellspring/lineage")] == (0, users.group_id("ledger"))
    assert owners[Path(".wellspring/models")] == (users.uid_of("worker"), users.group_id("api"))
    assert Path("/etc/passwd").stat().st_uid == 0
    # The original stays as it was.
    assert inner.stat().st_uid == old.uid_of("enclave")


def test_a_project_from_before_ranges_keeps_its_numbers_and_its_database_leaves_nobody(project: Project, folder: Path):
    layout.create_folders(project, detect_privileges(project))
    data = project.state_dir / "postgres" / "data"
    data.mkdir()
    for path in (data.parent, data):
        os.chown(path, 65534, ServiceUsers().uid_of("enclave"))
    first_uid = claim(project, folder)
    users = ServiceUsers(first_uid)
    assert (data.stat().st_uid, data.stat().st_gid) == (users.uid_of("postgres"), users.gid_of("postgres"))
    assert project.enclave_dir.stat().st_uid == users.uid_of("enclave")


def test_a_range_with_an_account_of_the_machine_is_passed_over(
    project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    class Account:
        pw_uid = 64102

    monkeypatch.setattr(uid_ranges.pwd, "getpwall", lambda: [Account()])
    assert claim(project, folder) == FIRST_UIDS[1]


def test_without_a_free_range_the_start_is_refused(project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(uid_ranges, "FIRST_UIDS", range(64100, 64101, 32))
    with projects.create_project() as neighbor:
        neighbor.state_dir.mkdir()
        claim(neighbor, folder)
        with pytest.raises(Unavailable, match="all 1 ranges"):
            uid_ranges.claim_uid_range(project, detect_privileges(project), folder=folder)


def test_a_folder_that_cannot_be_written_is_an_error_with_a_fix(project: Project, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="no range of uids can be recorded"):
        uid_ranges.claim_uid_range(project, detect_privileges(project), folder=tmp_path / "file" / "x")


def test_without_root_no_range_is_claimed(project: Project, folder: Path):
    alone = detect_privileges(project)._replace(separation="process")
    assert uid_ranges.claim_uid_range(project, alone, folder=folder) == alone
    assert not folder.exists()


CLAIM = """
import sys
from pathlib import Path
from wellspring.embedded.uid_ranges import claim_uid_range
from wellspring.project import load_project
from wellspring.runtime.privileges import detect_privileges
project = load_project(Path(sys.argv[1]))
print(claim_uid_range(project, detect_privileges(project), folder=Path(sys.argv[2])).users.first_uid)
"""


def test_projects_that_start_at_once_get_different_ranges(folder: Path, tmp_path: Path):
    roots = [tmp_path / str(number) for number in range(4)]
    for root in roots:
        (root / ".wellspring").mkdir(parents=True)
        (root / "wellspring.toml").write_text('[project]\nname = "shop"\ntenant = "acme"\n[sources]\n')
    claims = [
        subprocess.Popen([sys.executable, "-c", CLAIM, str(root), str(folder)], stdout=subprocess.PIPE, text=True)
        for root in roots
    ]
    numbers = [int(process.communicate(timeout=60)[0]) for process in claims]
    assert sorted(numbers) == list(FIRST_UIDS[:4])
