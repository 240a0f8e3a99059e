"""Pipes that a service lays where another service, or a command of the owner, opens a file."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator
from pathlib import Path

from tests.redteam.catalogue import attempt
from tests.redteam.shop_project import MODEL
from tests.redteam.target import Target, wait_until

WAIT_SECONDS = 8.0


@contextlib.contextmanager
def _laid_pipe(target: Target, service: str, path: Path, *, is_pipe: bool) -> Generator[None]:
    """Let a service lay a pipe, or an empty file, at a path; at the end release its readers and remove it."""

    def lay() -> str:
        os.mkfifo(path, 0o660) if is_pipe else path.touch(0o640)
        return "laid"

    assert target.run_as(service, lay) == "laid"
    try:
        yield
    finally:
        # A writer lets every reader go on, and its end is the end of the file for them.
        writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        path.unlink()
        os.close(writer)


def _name_next_segment(folder: Path) -> Path:
    lines = sum(path.read_bytes().count(b"\n") for path in folder.glob("*.log"))
    return folder / f"{lines:012}.log"


@attempt(
    "journal-lines", "worker", refused="the log grows", allowed="the log grows", needs="model",
)  # fmt: skip
def stop_the_log_with_a_pipe(target: Target, is_twin: bool) -> str:
    """The worker's uid lays a pipe as the next file of its journal; with a plain file the lines of others are added."""
    path = _name_next_segment(target.project.journals_dir / "worker")
    with _laid_pipe(target, "worker", path, is_pipe=not is_twin):
        target.first_entry = target.count_entries()
        api = target.project.socket_path("api")

        def is_recorded() -> bool:
            # The API records the requests of a user once a second.
            target.run_as("other-user", lambda: request_status(api))
            return target.has_entry("connect")

        is_added = wait_until(is_recorded, WAIT_SECONDS)
    assert wait_until(is_recorded, 60), "the log did not go on"
    return "the log grows" if is_added else "the log stands still"


@attempt(
    "stored-state", "worker", refused="answered", allowed="answered", needs="model",
)  # fmt: skip
def stop_the_api_with_a_pipe(target: Target, is_twin: bool) -> str:
    """The worker's uid lays a pipe as the pointer to the live release; with the plain file, requests are answered."""
    assert target.released
    path = target.project.models_dir / "live" / MODEL
    content, info = path.read_bytes(), path.stat()
    api = target.project.socket_path("api")
    if is_twin:
        return request_status(api)
    path.unlink()
    try:
        with _laid_pipe(target, "worker", path, is_pipe=True):
            # The API reads the pointer at most once a second.
            wait_until(lambda: request_status(api) != "answered", WAIT_SECONDS)
            return request_status(api)
    finally:
        path.write_bytes(content)
        os.chown(path, info.st_uid, info.st_gid)
        path.chmod(0o640)
        assert wait_until(lambda: request_status(api) == "answered", 60), "the API did not go on"


@attempt(
    "floods", "author", refused="answered", allowed="answered", needs="model",
)  # fmt: skip
def stop_the_api_with_a_policy(target: Target, is_twin: bool) -> str:
    """An author lays a pipe among the policies, which the API reads when they change; an empty policy may be added."""
    path, api = target.released.root / "policies" / "laid.cedar", target.project.socket_path("api")
    os.mkfifo(path) if not is_twin else path.touch()
    path.chmod(0o644)
    try:
        wait_until(lambda: request_prediction(target) != "answered", WAIT_SECONDS)
        outcome = request_prediction(target)
    finally:
        writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        path.unlink()
        os.close(writer)
    assert wait_until(lambda: request_status(api) == "answered", 60), "the API did not go on"
    return outcome


def request_prediction(target: Target) -> str:
    """Request a prediction, which the policies permit or not; the API has two seconds to answer."""
    body = b'{"keys": {"order_id": "x"}}'
    head = f"POST /v1/models/{MODEL}/predictions HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\n"
    return _send(target.project.socket_path("api"), head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)


def request_status(path: Path) -> str:
    """Request the release of a model from the API, which has two seconds to answer."""
    return _send(path, f"GET /v1/models/{MODEL} HTTP/1.1\r\nhost: api\r\n\r\n".encode())


def _send(path: Path, request: bytes) -> str:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
            connection.sendall(request)
            return "answered" if connection.recv(4096) else "closed"
    except TimeoutError:
        return "no answer"
