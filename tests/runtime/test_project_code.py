"""The client of the server of project code, with a server of a few lines."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from wellspring.errors import NotFound, ProjectError, Unavailable, WellspringError
from wellspring.runtime.project_code import (
    MAX_OUTPUT_BYTES,
    ProjectCodeClient,
    ProjectCodeFiles,
    ProjectCodeRun,
    read_project_file,
    require_plain_files,
)

FILES = ProjectCodeFiles(Path("/scratch"), (Path("/code"),))
Serve = Callable[[socket.socket, dict[str, Any], list[int]], None]


@contextmanager
def open_client(folder: Path, serve: Serve, *, server_uid: int | None = None) -> Iterator[ProjectCodeClient]:
    """Open a client whose server gets one request on its connection, and then closes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(folder / "code.sock"))
    listener.listen()

    def run() -> None:
        while True:
            try:
                channel, _ = listener.accept()
            except OSError:
                return
            # The client may be gone.
            with channel, suppress(OSError):
                send(channel, ready=True)
                if json.loads(channel.recv(4096) or b"{}") != {"open": "job", "memory_bytes": 5}:
                    continue
                content, descriptors, _, _ = socket.recv_fds(channel, 4096, 3)
                if content:
                    serve(channel, json.loads(content), descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)

    thread = threading.Thread(target=run)
    thread.start()
    uid = os.geteuid() if server_uid is None else server_uid
    client = ProjectCodeClient(folder / "code.sock", folder / "job", server_uid=uid, memory_bytes=5)
    yield client
    client.close()
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def send(channel: socket.socket, **message: Any) -> None:
    channel.send(json.dumps(message).encode())


def answer(content: bytes) -> Serve:
    def serve(channel: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
        os.write(descriptors[1], content)
        send(channel, ended=message["start"], status=0)

    return serve


def test_the_request_is_passed_and_the_output_is_returned(tmp_path: Path):
    requests: list[dict[str, Any]] = []

    def serve(channel: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
        requests.append(message)
        send(channel, started=message["start"], pid=7)
        head, _, request = os.read(descriptors[0], 1000).partition(b"\n")
        requests.append(json.loads(head))
        os.write(descriptors[1], request.upper())
        os.write(descriptors[2], b"a warning")
        send(channel, ended="another", status=0)
        send(channel, ended=message["start"], status=3)

    with open_client(tmp_path, serve) as client:
        output = client.run("dbt", b"build", FILES, timeout=60, trace="ab" * 16)
    assert output == ProjectCodeRun(3, b"BUILD", b"a warning")
    message, head = requests
    assert message.pop("start").startswith("dbt")
    assert message == {"kind": "dbt"}
    assert head == {"folder": "/scratch", "readable": ["/code"], "trace": "ab" * 16}


def test_after_the_timeout_the_process_is_killed(tmp_path: Path):
    def serve(channel: socket.socket, message: dict[str, Any], _: list[int]) -> None:
        assert json.loads(channel.recv(4096)) == {"kill": message["start"]}
        send(channel, ended=message["start"], status=-9)

    with open_client(tmp_path, serve) as client:
        assert client.run("model", b"", FILES, timeout=0.2).status is None


def test_without_its_server_project_code_is_unavailable_and_the_next_call_connects_again(tmp_path: Path):
    ends = iter([lambda *_: None, answer(b"x")])
    with open_client(tmp_path, lambda *arguments: next(ends)(*arguments)) as client:
        with pytest.raises(Unavailable, match="server of project code ended"):
            client.run("model", b"", FILES, timeout=60)
        assert client.run("model", b"", FILES, timeout=60).output == b"x"
    with pytest.raises(Unavailable):
        ProjectCodeClient(tmp_path / "none", tmp_path / "job", server_uid=0).run("model", b"", FILES, timeout=60)


def test_a_socket_of_another_user_gets_no_request(tmp_path: Path):
    with open_client(tmp_path, answer(b"x"), server_uid=os.geteuid() + 1) as client:
        with pytest.raises(Unavailable, match="server of project code ended"):
            client.run("model", b"secret", FILES, timeout=60)


def test_a_huge_output_is_refused_and_of_the_errors_the_end_is_read(tmp_path: Path):
    def serve(channel: socket.socket, message: dict[str, Any], descriptors: list[int]) -> None:
        os.ftruncate(descriptors[1], MAX_OUTPUT_BYTES + (message["start"] == "dbt-1"))
        os.truncate(descriptors[2], 1 << 30)
        os.lseek(descriptors[2], 0, os.SEEK_END)
        os.write(descriptors[2], b"ValueError")
        send(channel, ended=message["start"], status=0)
        content, further, _, _ = socket.recv_fds(channel, 4096, 3)
        if content:
            serve(channel, json.loads(content), further)
        for descriptor in further:
            os.close(descriptor)

    with open_client(tmp_path, serve) as client:
        with pytest.raises(ProjectError, match="answered with more than 64 MB"):
            client.run("dbt", b"", FILES, timeout=60)
        run = client.run("model", b"", FILES, timeout=60)
    assert len(run.output) == MAX_OUTPUT_BYTES
    assert len(run.errors) < 1 << 20
    assert run.errors.endswith(b"ValueError")


@pytest.mark.parametrize("content", [b"[]", b"no JSON", b"[" * 100_000, b"\xff", b'"x"'])
def test_an_answer_that_is_no_object_is_an_error_of_the_file(tmp_path: Path, content: bytes):
    with open_client(tmp_path, answer(content)) as client:
        with pytest.raises(ProjectError, match="something else than definitions"):
            read_project_file(client, "features", Path("f.py"), {"path": "f.py"}, timeout=60)


@pytest.mark.parametrize(
    ("slug", "expected"),
    [("project", ProjectError), ("not-found", NotFound), ("unavailable", Unavailable), ("corrupted", ProjectError),
     ("refused", ProjectError), ("x", ProjectError)],
)  # fmt: skip
def test_code_raises_errors_of_its_own_kinds_only(tmp_path: Path, slug: str, expected: type[WellspringError]):
    document = {"slug": slug, "what": "w" * 10_000, "fix": "f", "verdict": {"outcome": "pass"}}
    with open_client(tmp_path, answer(json.dumps(document).encode())) as client:
        with pytest.raises(WellspringError) as caught:
            read_project_file(client, "features", Path("f.py"), {"path": "f.py"}, timeout=60)
    assert type(caught.value) is expected
    assert len(caught.value.what) == 4000


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "closed folder"])
def test_only_plain_files_are_read_from_a_folder_of_the_code(tmp_path: Path, kind: str):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a").write_text("a")
    require_plain_files(tmp_path)
    match kind:
        case "link":
            (inner / "b").symlink_to("a")
        case "hard link":
            (inner / "b").hardlink_to(inner / "a")
        case "pipe":
            os.mkfifo(inner / "b")
        case _:
            if os.geteuid() == 0:
                pytest.skip("root reads every folder")
            inner.chmod(0)
    with pytest.raises(ProjectError):
        require_plain_files(tmp_path)


def test_a_folder_is_removed_with_its_content_and_with_the_connection(tmp_path: Path):
    client = ProjectCodeClient(tmp_path / "none", tmp_path / "job", server_uid=0)
    with client.open_folder("dbt") as folder:
        assert folder.stat().st_mode & 0o7777 == 0o2770
        (folder / "a").write_text("a")
    assert list((tmp_path / "job").iterdir()) == []
    client.close()
    assert not (tmp_path / "job").exists()
