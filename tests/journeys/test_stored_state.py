"""While everything is down one thing is changed; it is named before anything answers from it, and no pack is made."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.crash.project import ProjectFixture
from tests.crash.serving_project import ServingProject
from tests.redteam.shop_project import MODEL, create_shop, release_model
from wellspring.embedded import packages
from wellspring.embedded.valkey import valkey_data_dir

pytestmark = [pytest.mark.live, pytest.mark.slow]


class Answered(NamedTuple):
    """A shop with a released model, one key and the proved prediction for it."""

    project: ServingProject
    key: dict[str, str]
    prediction: str


@pytest.fixture(scope="module")
def answered() -> Iterator[Answered]:
    # Services under other users read the project through these folders.
    folder = Path(tempfile.mkdtemp(prefix="ws-state-"))
    folder.chmod(0o755)
    try:
        project = create_shop(folder / "project")
        assert release_model(project).approval.exit_code == 0
        (key,) = project.sample_keys(1, model=MODEL)
        with project.client() as client:
            prediction = client.predict(MODEL, key, include_reasons=False).subject
        project.must("prove", prediction, "--out", str(folder / "before"))
        yield Answered(project, key, prediction)
    finally:
        ProjectFixture.down(folder / "project")
        shutil.rmtree(folder)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def find_lake_file(project: ServingProject) -> Path:
    return next(path for path in sorted(project.project.lake_dir.rglob("*.parquet")) if "orders" in path.as_posix())


def find_view(project: ServingProject) -> Path:
    return next((project.project.lake_dir / "views").glob("*.json"))


def find_release_pointer(project: ServingProject) -> Path:
    return project.project.models_dir / "live" / MODEL


def find_edition_pointer(project: ServingProject) -> Path:
    return project.project.lake_dir / "editions" / "built"


def find_journal(project: ServingProject) -> Path:
    return max((project.project.journals_dir / "worker").glob("*.log"), key=lambda path: path.stat().st_size)


def find_index(project: ServingProject) -> Path:
    return project.project.ledger_dir / "index.sqlite"


def rewrite_pointer(path: Path) -> None:
    path.write_bytes(b"0123456789ab\n")


def change_index_row(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("update entries set action = 'demote' where action = 'promote'")


@contextmanager
def changed(path: Path, change: Callable[[Path], None]) -> Iterator[None]:
    """Change a file in place, as its owner could, and put its content back at the end."""
    content = path.read_bytes()
    change(path)
    try:
        yield
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("find", "change", "name", "is_refused"),
    [
        (find_lake_file, flip_byte, "orders", True),
        (find_view, flip_byte, "views", True),
        (find_release_pointer, rewrite_pointer, f"live/{MODEL}", True),
        # A pack names no pointer of editions: it is read from the log, and is true.
        (find_edition_pointer, rewrite_pointer, "editions/built", False),
        (find_journal, flip_byte, "journals/worker", False),
        (find_index, change_index_row, "index", False),
        (find_view, lambda path: None, "", False),
    ],
    ids=["lake file", "view", "release pointer", "edition pointer", "journal line", "index row", "twin"],
)
def test_what_was_changed_while_everything_was_down_is_named(
    answered: Answered,
    tmp_path: Path,
    find: Callable[[ServingProject], Path],
    change: Callable[[Path], None],
    name: str,
    is_refused: bool,
):
    project = answered.project
    project.must("down")
    with changed(find(project), change):
        verified = project.run("ledger", "verify")
        reports = [*verified.document["findings"]]
        doctor = project.run("doctor")
        reports += [check["what"] for check in doctor.document if not check["ok"]]
        named = [what for what in reports if name in what]
        assert (bool(named), verified.code == 20 or doctor.code == 1) == (bool(name), bool(name)), reports
        proved = project.run("prove", answered.prediction, "--out", str(tmp_path / "pack"))
        assert (proved.code, name in proved.error) == (20, True) if is_refused else proved.code in {0, 20}
    assert project.run("ledger", "verify").code == 0


def test_a_rewritten_pointer_answers_nothing_after_up(answered: Answered):
    project = answered.project
    project.must("down")
    with changed(find_release_pointer(project), rewrite_pointer):
        project.must("up")
        response = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": answered.key})
        assert (response.status, b"urn:wellspring:corrupted" in response.body) == (500, True)
        with project.client() as client:
            health: Any = client.health()
        assert health["status"] == "degraded"
        assert "0123456789ab" in health["load_errors"][MODEL]
    assert_answers(answered)


def assert_answers(answered: Answered) -> None:
    with answered.project.client() as client:
        assert client.predict(MODEL, answered.key, include_reasons=False).model == MODEL


@contextmanager
def running_alone(project: ServingProject) -> Iterator[Any]:
    """Run Valkey on the data of the project without users, as someone who may write its folder can."""
    from redis import Redis

    home = valkey_data_dir(project.project)
    owner = home.stat()
    program = packages.check_installed(project.project).valkey
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/valkey.sock"
        argv = [str(program), "--port", "0", "--unixsocket", socket, "--dir", str(home), "--appendonly", "yes"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any("Ready to accept connections" in line for line in process.stdout)
            with Redis(unix_socket_path=socket) as store:
                yield store
            process.terminate()
    for path in [home, *home.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)


def test_an_online_row_changed_while_everything_was_down_is_named_and_answers_nothing(answered: Answered):
    project = answered.project
    project.must("down")
    token = next(iter(answered.key.values())).encode()
    with running_alone(project) as store:
        rows = [key for key in store.scan_iter(count=1_000) if token in key]
        original_rows = {key: store.dump(key) for key in rows}
        for key in rows:
            foreign = next(item for item in store.scan_iter(count=1_000) if item[:8] == key[:8] and token not in item)
            store.hset(key, mapping=store.hgetall(foreign))
    project.must("up")
    checks = project.run("doctor").document
    assert [check["what"] for check in checks if not check["ok"] and "online rows" in check["what"]] != []
    response = project.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": answered.key})
    assert (response.status, b"urn:wellspring:corrupted" in response.body) == (500, True)
    project.must("down")
    with running_alone(project) as store:
        for key, content in original_rows.items():
            store.restore(key, 0, content, replace=True)
    project.must("up")
    assert_answers(answered)
    assert [
        check for check in project.run("doctor").document if not check["ok"] and "online rows" in check["what"]
    ] == []
