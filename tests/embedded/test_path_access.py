"""Every folder of a project is in the table, closed to other users, and on a running project open to nobody else."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import projects
from tests.builders.journeys import running_project
from tests.builders.opened_paths import open_paths
from tests.builders.order_drops import CONTRACT, write_order_drop
from wellspring.embedded import layout
from wellspring.embedded.path_access import OWNER, SHARED, PathAccess, find_access, list_paths
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.service_users import SERVICE_SLOTS

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give services users of their own")
OTHER_USER = "another user of the machine"
OTHER_UID = 65533
USERS = (OTHER_USER, *SERVICE_SLOTS)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def project() -> Iterator[Project]:
    with projects.create_project() as project:
        layout.ensure_ownership(project)
        yield project


def try_paths(project: Project, name: str, paths: list[Path]) -> dict[str, tuple[bool, bool]]:
    """Let a user try to open each path for reading and for writing. It has no capability, and no Landlock rule."""
    users = detect_privileges(project).users
    if name == OTHER_USER:
        identity = (OTHER_UID, OTHER_UID, [])
    else:
        identity = (users.uid_of(name), users.gid_of(name), list(users.groups_of(name)))
    return open_paths(*identity, project.root, paths)


def may_reach(rows: list[PathAccess], row: PathAccess, name: str) -> bool:
    """Tell whether the table lets a user enter the folders above a row."""
    above = [find_access(rows, folder) for folder in row.path.parents]
    return all(name in folder.passers for folder in above if folder is not None)


def find_surplus(project: Project, name: str) -> list[str]:
    """List what a user may do in a project beyond the table, and which rows for it do not hold."""
    rows, problems = list_paths(project), list[str]()
    tops = [project.state_dir, project.vendor_dir, project.root / project.witness.folder]
    paths = [path.relative_to(project.root) for top in tops for path in (top, *top.rglob("*")) if not path.is_symlink()]
    answers = try_paths(project, name, paths)
    for path in paths:
        row = find_access(rows, path)
        assert row is not None, f"{path} is not in the table"
        reads, writes = answers[str(path)]
        is_reader = name in row.readers and may_reach(rows, row, name)
        if reads and not is_reader:
            problems.append(f"{name} reads {path}")
        if writes and name not in row.writers:
            problems.append(f"{name} writes {path}")
        # A capability must not hide a file that its reader cannot read.
        is_shared = row.mode == SHARED and path.name != "lock"
        if (path == row.path or is_shared) and is_reader and not reads:
            problems.append(f"{name} does not read {path}")
    return problems


@root_only
@pytest.mark.live
def test_no_user_may_open_more_of_a_running_project_than_the_table_says():
    with running_project(contracts=[CONTRACT]) as journey:
        write_order_drop(journey.outbox / "order_line_1.csv", 50)
        assert journey.ingest()["files"]["order_line_1.csv"]["status"] == "published"
        assert journey.run("ledger", "verify").code == 0
        assert [problem for name in USERS for problem in find_surplus(journey.project, name)] == []


@root_only
def test_a_file_that_is_open_to_others_would_be_found(project: Project):
    layout.create_folders(project, detect_privileges(project))
    assert [problem for name in USERS for problem in find_surplus(project, name)] == []
    project.state_dir.chmod(0o711)
    project.jobs_dir.chmod(0o755)
    (project.jobs_dir / "queue.sqlite").touch()
    (project.jobs_dir / "queue.sqlite").chmod(0o666)
    queue = project.jobs_dir.relative_to(project.root) / "queue.sqlite"
    assert {f"{OTHER_USER} reads {queue}", f"{OTHER_USER} writes {queue}"} <= set(find_surplus(project, OTHER_USER))
    assert f"api writes {queue}" in find_surplus(project, "api")


@root_only
def test_the_next_start_closes_what_an_older_version_left_open(project: Project):
    granted = detect_privileges(project)
    layout.create_folders(project, granted)
    files = {"ledger/tile": "sequencer", "lake/editions/a.json": "worker", "lake/rows.parquet": "worker"}
    for name, service in files.items():
        (project.state_dir / name).write_bytes(b"x")
        os.chown(project.state_dir / name, granted.uid_of(service), granted.users.gid_of(service))
        (project.state_dir / name).chmod(0o644)
    for folder in (".", "lake", "ledger", "lake/editions", "metrics", "lineage"):
        (project.state_dir / folder).chmod(0o755)
    for kind, suffix in (("metrics", "prom"), ("lineage", "jsonl")):
        (project.state_dir / kind / f"worker.{suffix}").write_bytes(b"kept")
    layout.create_folders(project, granted)
    owners = {name: ((project.state_dir / name).stat().st_gid, mode_of(project.state_dir / name)) for name in files}
    assert owners == {
        "ledger/tile": (granted.users.group_id("ledger"), 0o640),
        "lake/editions/a.json": (granted.users.group_id("api"), 0o640),
        "lake/rows.parquet": (granted.users.group_id("worker"), 0o640),
    }
    assert (project.state_dir / "metrics/worker/worker.prom").read_bytes() == b"kept"
    assert (project.state_dir / "lineage/worker/worker.jsonl").stat().st_uid == granted.uid_of("worker")
    assert [problem for name in USERS for problem in find_surplus(project, name)] == []


def test_folders_are_closed_to_other_users_also_without_root(project: Project):
    layout.create_folders(project, detect_privileges(project)._replace(separation="process"))
    rows = [row for row in list_paths(project) if not row.is_file]
    assert {row.path: mode_of(project.root / row.path) for row in rows} == {row.path: row.mode for row in rows}
    assert {(project.root / row.path).stat().st_uid for row in rows} == {os.geteuid()}
    assert not [row.path for row in list_paths(project) if row.mode & 0o007]


def test_the_folder_of_a_vendor_keeps_its_owner(project: Project):
    project.vendor_dir.mkdir()
    if os.geteuid() == 0:
        os.chown(project.vendor_dir, 12345, 12345)
    owner = project.vendor_dir.stat().st_uid
    layout.create_folders(project, detect_privileges(project))
    assert (project.vendor_dir.stat().st_uid, mode_of(project.vendor_dir)) == (owner, 0o2750)


def test_the_nearest_row_counts(project: Project):
    rows = list_paths(project)
    state = project.state_dir.relative_to(project.root)
    for path, expected in (("lake/editions/x/y", "lake/editions"), ("lake/x", "lake"), ("new/file", ".")):
        row = find_access(rows, state / path)
        assert row is not None
        assert row.path == state / expected
    assert find_access(rows, Path("contracts/a.yaml")) is None


def test_readers_and_passers_are_the_members_of_the_group():
    lake = PathAccess(Path("lake"), "worker", "lake", 0o710, "")
    assert (lake.readers, lake.passers, lake.writers) == ({"worker"}, {"worker", "api", "code"}, {"worker"})
    scratch = PathAccess(Path("tmp/code"), OWNER, "code", 0o3770, "")
    assert scratch.writers == scratch.readers == {OWNER, "worker", "code"}
    journal = PathAccess(Path("journals/api"), "api", "sequencer", 0o2750, "")
    assert journal.readers == {"api", "sequencer", "worker"}
    secret = PathAccess(Path("key"), OWNER, OWNER, 0o600, "", is_file=True)
    assert secret.readers == secret.passers == {OWNER}
