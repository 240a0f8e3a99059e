"""The server of project code: what its processes get, and when they end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.landlock import has_landlock
from tests.builders.project_code import open_channel
from wellspring.errors import Unavailable
from wellspring.runtime.project_code import ProjectCodeClient, ProjectCodeFiles, ProjectCodeRun

pytestmark = pytest.mark.slow
WAIT = "import threading\nthreading.Event().wait()"


def run_file(
    client: ProjectCodeClient, folder: Path, text: str, *, timeout: float = 60, trace: str = ""
) -> ProjectCodeRun:
    """Run a file of feature definitions with the given text."""
    (folder / "features.py").write_text(text)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    request = json.dumps({"path": str(folder / "features.py"), "project": "acme"}).encode()
    files = ProjectCodeFiles(scratch, (folder / "features.py",))
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
