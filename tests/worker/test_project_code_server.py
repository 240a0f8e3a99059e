"""The server of project code: what its processes get, and when they end."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import dbt_builds, dbt_projects, hostile_code
from tests.builders.hostile_attempts import ATTEMPTS
from tests.builders.landlock import has_landlock
from tests.builders.project_code import PROJECT_CODE, open_channel
from wellspring.data.features.view_process import load_views
from wellspring.data.transform.dbt_process import BuildJob
from wellspring.errors import ProjectError, Unavailable
from wellspring.models.spec.definition_process import read_model_definition
from wellspring.runtime.project_code import ProjectCodeClient, ProjectCodeFiles, ProjectCodeRun
from wellspring.runtime.seccomp import describe_seccomp

pytestmark = pytest.mark.slow
PYTHON_PLACES = ("features", "model", "estimator")
PLACES = (*PYTHON_PLACES, "dbt")
WAIT = "import threading\nthreading.Event().wait()"


def run_file(
    client: ProjectCodeClient, folder: Path, text: str, *, timeout: float = 60, trace: str = ""
) -> ProjectCodeRun:
    """Run a file of feature definitions with the given text."""
    (folder / "features.py").write_text(text)
    request = json.dumps({"path": str(folder / "features.py"), "project": "acme"}).encode()
    (folder / "scratch").mkdir(exist_ok=True)
    files = ProjectCodeFiles(folder / "scratch", (folder / "features.py",))
    return client.run("features", request, files, timeout=timeout, trace=trace)


def probe(client: ProjectCodeClient, folder: Path, expression: str, trace: str = "") -> str:
    """Return the value of an expression in a process of project code."""
    text = f"import os, sys, json\nfrom pathlib import Path\nraise ValueError(json.dumps({expression}))"
    what: str = json.loads(run_file(client, folder, text, trace=trace).output)["what"]
    return what.partition("ValueError: ")[2]


def test_a_process_has_its_own_environment_folder_and_descriptors(tmp_path: Path):
    with open_channel() as client:
        environment = json.loads(probe(client, tmp_path, "dict(os.environ)", trace="ab" * 16))
        assert environment.pop("TRACEPARENT").startswith("00-" + "ab" * 16)
        scratch = str(tmp_path / "scratch")
        expected = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "HOME": scratch, "TMPDIR": scratch}
        assert environment == expected
        assert json.loads(probe(client, tmp_path, "os.getcwd()")) == scratch
        targets = "[os.readlink(path) for path in Path('/proc/self/fd').iterdir() if os.path.lexists(path)]"
        assert not [target for target in json.loads(probe(client, tmp_path, targets)) if target.startswith("socket:")]


def test_a_process_writes_only_its_folder(tmp_path: Path):
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    text = f"open('here', 'w')\nopen({str(tmp_path / 'there')!r}, 'w')"
    with open_channel() as client:
        assert "features.py:2: PermissionError" in json.loads(run_file(client, tmp_path, text).output)["what"]
    assert (tmp_path / "scratch" / "here").exists()


def test_a_process_that_is_too_slow_is_killed(tmp_path: Path):
    text = f"import os\nprint(os.getpid(), flush=True)\n{WAIT}"
    with open_channel() as client:
        # The imports of the server are not part of the time.
        assert json.loads(probe(client, tmp_path, "1")) == 1
        run = run_file(client, tmp_path, text, timeout=5)
        assert (run.status, run.output) == (None, b"")
        assert not is_running(int(run.errors))
        # The channel serves the next one.
        assert json.loads(probe(client, tmp_path, "1")) == 1


def test_with_the_channel_its_processes_end(tmp_path: Path):
    with open_channel() as client:
        pid_file = tmp_path / "scratch" / "pid"
        text = f"import os\nopen('pid', 'w').write(str(os.getpid()))\n{WAIT}"
        thread = threading.Thread(target=run_until_closed, args=(client, tmp_path, text))
        thread.start()
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
        client.close()
        thread.join()
    wait_until(lambda: not is_running(int(pid_file.read_text())))


def test_a_process_has_the_memory_limit_of_its_job(tmp_path: Path):
    with open_channel(memory_bytes=1 << 30) as client:
        limit = probe(client, tmp_path, "__import__('resource').getrlimit(__import__('resource').RLIMIT_DATA)")
    assert json.loads(limit) == [1 << 30, 1 << 30]


class Targets:
    """Real things that the attempts try to reach: all of this user, so that no file mode protects them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.victim = subprocess.Popen(["sleep", "600"])
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "server.sock"))
        self.listener.listen()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.free_port: int = free.getsockname()[1]
        self.files = {name: folder / name for name in ("key", "pointer", "other", "part.parquet", "index.sqlite")}
        for path in self.files.values():
            path.touch()
        self.created = folder / "created"

    def describe(self) -> dict[str, Any]:
        return {
            "sockets": [str(self.folder / "server.sock")],
            "ports": [self.tcp.getsockname()[1]],
            "free_ports": [self.free_port],
            "keys": [str(self.files["key"])],
            "processes": [self.victim.pid],
            "new_files": [str(self.created)],
            "indexes": [str(self.files["index.sqlite"])],
            "pointers": [str(self.files["pointer"])],
            "other_files": [str(self.files["other"])],
            "lake_files": [str(self.files["part.parquet"])],
        }

    def are_untouched(self) -> bool:
        return not self.created.exists() and not any(path.stat().st_size for path in self.files.values())

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        self.listener.close()
        self.tcp.close()


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Targets]:
    targets = Targets(tmp_path / "targets")
    yield targets
    targets.close()


def run_place(place: str, folder: Path, code: str) -> None:
    """Run code in one of the four places of a project. Raises as the platform does."""
    match place:
        case "features":
            path = hostile_code.write_features(folder / "features.py", code, "")
            load_views(path, "acme", PROJECT_CODE)
        case "model":
            hostile_code.write_model(folder / "models", code)
            read_model_definition(folder / "models", "denials", PROJECT_CODE)
        case "estimator":
            hostile_code.write_estimator(folder / "models", code)
            read_model_definition(folder / "models", "denials", PROJECT_CODE)
        case _:
            files = {"visits.sql": dbt_projects.VISITS, "visits.yml": dbt_projects.FEATURES}
            project = hostile_code.write_dbt_project(folder / "dbt", code, files)
            visits = dbt_projects.written(dbt_projects.visits(), folder / "lake" / "visit.parquet")
            with PROJECT_CODE.open_folder("dbt") as scratch:
                result = dbt_builds.run_build(project, scratch, {"visit": dbt_builds.source(visits)})
            raise ProjectError("; ".join(problem.message for problem in result.problems), fix="")


def test_the_attempts_succeed_outside_a_process_of_project_code(tmp_path: Path, targets: Targets):
    """The attempts are real: without the confinement each of them succeeds."""
    code = f"{hostile_code.attempt_text(targets.describe())}"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    succeeded = json.loads(ran.stderr.rpartition("RuntimeError: ")[2])
    assert {name for name in ATTEMPTS if not any(item.startswith(name) for item in succeeded)} == set()


@pytest.mark.skipif(bool(describe_seccomp()) or not has_landlock(), reason="this machine has no seccomp or no Landlock")
@pytest.mark.parametrize("place", PLACES)
def test_hostile_code_reaches_nothing(tmp_path: Path, targets: Targets, place: str):
    code = hostile_code.attempt_text(targets.describe())
    # Code of which nothing succeeded goes on, and is judged by what it defines.
    match place:
        case "features":
            with pytest.raises(ProjectError, match=r"no feature views|defines no") as caught:
                run_place(place, tmp_path, code)
            assert "RuntimeError" not in caught.value.what
        case "model":
            run_place(place, tmp_path, code)
        case "estimator":
            with pytest.raises(ProjectError, match="not the class that is registered"):
                run_place(place, tmp_path, code)
        case _:
            # dbt runs Python in an event loop, which needs a pair of sockets.
            with pytest.raises(ProjectError, match=r"model attack .* failed: unknown error"):
                run_place(place, tmp_path, code)
    assert targets.are_untouched()


@pytest.mark.parametrize("place", PYTHON_PLACES)
def test_the_code_of_each_place_runs(tmp_path: Path, place: str):
    """The twin of the test above: code that raises is noticed in each place."""
    with pytest.raises(ProjectError, match="RuntimeError: it ran"):
        run_place(place, tmp_path, "raise RuntimeError('it ran')")


def test_dbt_runs_python_of_a_project_that_is_not_confined(tmp_path: Path):
    """The twin for dbt: it is the confinement that refuses the code, not the test's project."""
    files = {"visits.sql": dbt_projects.VISITS, "visits.yml": dbt_projects.FEATURES}
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    project = hostile_code.write_dbt_project(tmp_path / "dbt", code, files)
    visits = dbt_projects.written(dbt_projects.visits(), tmp_path / "lake" / "visit.parquet")
    (tmp_path / "scratch").mkdir()
    job = BuildJob(
        engine="duckdb",
        project_dir=str(project),
        scratch_dir=str(tmp_path / "scratch"),
        sources={"visit": dbt_builds.source(visits)},
    )
    run = "import sys\nfrom wellspring.data.transform import dbt_process as p\np.run_request(sys.stdin.buffer.read())"
    subprocess.run([sys.executable, "-c", run], input=job.model_dump_json().encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "ran").exists()


ANSWER = """
import json, os
for descriptor in range(3, 16):
    try:
        os.write(descriptor, ANSWER)
    except OSError:
        pass
os._exit(0)
"""


@pytest.mark.parametrize("place", PYTHON_PLACES)
@pytest.mark.parametrize("answer", ["form", "list", "bytes"])
def test_an_answer_that_is_not_the_schema_is_an_error_of_the_project(tmp_path: Path, place: str, answer: str):
    answers = {"form": b'{"views": 1, "definition": 1, "task": 2, "estimator": 3}', "list": b"[]", "bytes": b"\xff"}
    with pytest.raises(ProjectError, match="something else than"):
        run_place(place, tmp_path, ANSWER.replace("ANSWER", repr(answers[answer])))


@pytest.mark.parametrize("place", PYTHON_PLACES)
def test_a_huge_answer_is_an_error_of_the_project(tmp_path: Path, place: str):
    code = ANSWER.replace("ANSWER", "b'x' * (65 << 20)")
    with pytest.raises(ProjectError, match=r"something else than"):
        run_place(place, tmp_path, code)


def test_what_the_code_closed_to_others_is_removed(tmp_path: Path):
    text = "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w')\nos.chmod('a', 0)"
    with open_channel() as client:
        with client.open_folder("features") as folder:
            (tmp_path / "features.py").write_text(text)
            request = json.dumps({"path": str(tmp_path / "features.py"), "project": "acme"}).encode()
            files = ProjectCodeFiles(folder, (tmp_path / "features.py",))
            client.run("features", request, files, timeout=60)
            assert (folder / "a").exists()
        assert not folder.exists()


def run_until_closed(client: ProjectCodeClient, folder: Path, text: str) -> None:
    with pytest.raises(Unavailable):
        run_file(client, folder, text)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in time")
