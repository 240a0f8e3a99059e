"""Bombs and floods: files that decode to too much, and connections, headers and passwords in great numbers."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import ExitStack
from functools import partial

import psutil

from tests.crash.user_commands import PASSWORD
from tests.redteam.catalogue import attempt
from tests.redteam.service_users import find_pid
from tests.redteam.target import Target, describe_outcome, wait_until
from tests.redteam.vendor_drops import describe_delivery, write_repeated_text
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity.users import login_user, read_login_mount

HEAD = b"GET /healthz HTTP/1.1\r\nhost: api\r\n"


def _connect(path: object, seconds: float = 20) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    connection.connect(str(path))
    return connection


def read_status(connection: socket.socket) -> str:
    """Read the first line of an HTTP response."""
    line = connection.makefile("rb").readline()
    return f"status {line.split()[1].decode()}" if line else "closed"


@attempt(
    "floods", "vendor", refused="stopped over_budget", allowed="published", needs="servers",
    recorded=("admit over_budget",),
)  # fmt: skip
def deliver_a_bomb_of_numbers(target: Target, is_twin: bool) -> str:
    """A vendor delivers a Parquet file of which one column decodes to gigabytes; a plain one is published."""
    return describe_delivery(target, "cell_good.parquet" if is_twin else "cell_numbers.parquet")


@attempt(
    "floods",
    "vendor",
    refused="stopped unreadable",
    allowed="published",
    needs="servers",
    recorded=("admit unreadable",),
)
def deliver_many_columns(target: Target, is_twin: bool) -> str:
    """A vendor delivers a Parquet file with 10,001 columns; one with two columns is published."""
    return describe_delivery(target, "cell_good.parquet" if is_twin else "cell_wide.parquet")


@attempt(
    "floods",
    "vendor",
    refused="stopped unbalanced_quote",
    allowed="published",
    needs="servers",
    recorded=("admit unbalanced_quote",),
)
def deliver_an_endless_value(target: Target, is_twin: bool) -> str:
    """A vendor delivers a CSV file with a quote that is not closed within 16 MiB; one without it is published."""
    return describe_delivery(target, "list_good.csv" if is_twin else "list_quote.csv")


@attempt(
    "floods",
    "vendor",
    refused="stopped unreadable",
    allowed="published",
    needs="servers",
    recorded=("admit unreadable",),
)
def deliver_deep_json(target: Target, is_twin: bool) -> str:
    """A vendor delivers JSON Lines with 100,000 nested lists; a plain object is published."""
    return describe_delivery(target, "line_good.jsonl" if is_twin else "line_deep.jsonl")


@attempt(
    "floods",
    "vendor",
    refused="stopped too_many_keys",
    allowed="published",
    needs="servers",
    recorded=("admit too_many_keys",),
)
def deliver_many_keys(target: Target, is_twin: bool) -> str:
    """A vendor delivers JSON Lines with another undeclared key on each line; lines without them are published."""
    return describe_delivery(target, "line_good.jsonl" if is_twin else "line_keys.jsonl")


@attempt("floods", "other-user", refused="status 503", allowed="status 200", needs="servers")
def open_many_connections_to_api(target: Target, is_twin: bool) -> str:
    """Another user opens 17 connections to the API; the owner, whom the API knows, may open as many."""
    path = target.project.socket_path("api")

    def connect() -> str:
        with ExitStack() as stack:
            connections = [stack.enter_context(_connect(path)) for _ in range(17)]
            try:
                connections[-1].sendall(HEAD + b"\r\n")
            except BrokenPipeError:
                # It was refused and closed before the request came.
                pass
            return read_status(connections[-1])

    return connect() if is_twin else target.run_as("other-user", connect)


@attempt("floods", "other-user", refused="closed", allowed="open", needs="servers", recorded=("connect",))
def hold_connections_to_enclave(target: Target, is_twin: bool) -> str:
    """Another user holds a connection to the enclave without a request; that of the worker stays open."""
    path = target.project.socket_path("intake")

    def hold() -> str:
        with _connect(path, 5) as connection:
            try:
                while connection.recv(65536):
                    pass
            except TimeoutError:
                return "open"
            return "closed"

    return target.run_as("worker" if is_twin else "other-user", hold)


@attempt("floods", "worker", refused="error refused", allowed="done", needs="servers")
def send_a_huge_frame(target: Target, is_twin: bool) -> str:
    """The worker's uid announces a frame of 2 GiB to the enclave; a short frame is answered."""
    return _send_frame(target, b'{"op":"ping"}', None if is_twin else 2**31)


@attempt("floods", "worker", refused="error refused", allowed="done", needs="servers")
def send_nested_lists(target: Target, is_twin: bool) -> str:
    """The worker's uid sends the enclave 30,000 nested lists; a short frame is answered."""
    nested = b'{"op":"ping","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    return _send_frame(target, b'{"op":"ping","x":[]}' if is_twin else nested, None)


def _send_frame(target: Target, body: bytes, length: int | None) -> str:
    """Send a frame to the enclave as the worker. length: the one to announce, if it is another."""
    path = target.project.socket_path("intake")

    def send() -> str:
        with _connect(path) as connection:
            connection.sendall(struct.pack(">I", len(body) if length is None else length) + body)
            size = struct.unpack(">I", connection.recv(4))[0]
            answer = json.loads(connection.recv(size))
        return f"{answer['kind']} {answer.get('slug', '')}".strip()

    return target.run_as("worker", send)


@attempt("floods", "owner", refused="status 431", allowed="status 200", needs="servers")
def send_large_headers(target: Target, is_twin: bool) -> str:
    """A caller sends headers of 17 KiB to the API; headers of 8 KiB are answered."""
    with _connect(target.project.socket_path("api")) as connection:
        connection.sendall(HEAD + b"x-filler: " + b"a" * (8 if is_twin else 17) * 2**10 + b"\r\n\r\n")
        return read_status(connection)


@attempt("floods", "owner", refused="status 413", allowed="status 422", needs="servers")
def send_a_large_body(target: Target, is_twin: bool) -> str:
    """A caller sends a body of 17 KiB to the API; a body of 1 KiB is parsed."""
    body = json.dumps({"keys": {"order_id": "a" * (1 if is_twin else 17) * 2**10}}).encode()
    head = b"POST /v1/models/nothing/predictions HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\n"
    with _connect(target.project.socket_path("api")) as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        return read_status(connection)


@attempt("floods", "owner", refused="closed", allowed="answered", needs="servers")
def leave_responses_unread(target: Target, is_twin: bool) -> str:
    """A caller pipelines requests and reads no response; who reads them gets all."""
    request, count = HEAD + b"\r\n", 400 if is_twin else 20_000
    with _connect(target.project.socket_path("api")) as connection:

        def send_all() -> str:
            for _ in range(count // 100):
                connection.sendall(request * 100)
            if not is_twin:
                return "accepted"
            read = b""
            while read.count(b"HTTP/1.1 200") < count:
                read += connection.recv(65536)
            return "answered"

        outcome = describe_outcome(send_all)
    return "closed" if outcome in {"ECONNRESET", "EPIPE"} else outcome


@attempt("floods", "owner", refused="closed", allowed="answered", needs="servers")
def send_an_endless_request_for_a_job(target: Target, is_twin: bool) -> str:
    """The owner sends a request of 300 KiB without an end to the socket of jobs; a short one is answered."""
    request = json.dumps({"op": "ping", "filler": "" if is_twin else "x" * 300 * 1024}).encode() + b"\n"
    with _connect(target.project.socket_path("jobs")) as connection:

        def send() -> str:
            connection.sendall(request)
            return "answered" if connection.recv(4096) else "closed"

        outcome = describe_outcome(send)
    return "closed" if outcome in {"ECONNRESET", "EPIPE"} else outcome


@attempt(
    "floods", "owner", refused="locked", allowed="logged in", needs="model",
    recorded=("authenticate user:ugo",),
)  # fmt: skip
def guess_passwords(target: Target, is_twin: bool) -> str:
    """Somebody guesses passwords of a new user until the name is locked; without guesses the user logs in."""
    name = "una" if is_twin else "ugo"
    target.enroll(name, "approver")

    def log_in(password: str) -> str:
        return "logged in" if log_in_as(target, name, password, target.shop.next_code(name)) else "empty"

    if not is_twin:
        for number in range(8):
            assert describe_outcome(partial(log_in_as, target, name, f"guess number {number}", "000000")) == "refused"
    outcome = describe_outcome(partial(log_in, PASSWORD))
    return outcome if is_twin or outcome != "refused" else "locked"


def log_in_as(target: Target, name: str, password: str, code: str) -> str:
    server, mount = find_server_socket(target.project, "openbao"), read_login_mount(target.project)
    return login_user(server, name, password, code, mount=mount).token


@attempt(
    "floods", "vendor", refused="exit 75, the enclave runs on", allowed="exit 0, the enclave runs on", needs="restart",
)  # fmt: skip
def deliver_a_bomb_of_texts(target: Target, is_twin: bool) -> str:
    """A vendor delivers 18 kB of Parquet that repeat a text 2,000,000 times; a file that repeats it twice is read."""
    if is_twin:
        return target.remembered["texts"]
    # First, because a drop that ended the enclave is tried again by each later run.
    target.remembered["texts"] = _deliver_texts(target, 2)
    return _deliver_texts(target, 2_000_000)


def _deliver_texts(target: Target, rows: int) -> str:
    pid = find_pid(target, "enclave")
    path = target.project.vendor_dir / "outbox" / f"cell_texts_{rows}.parquet"
    path.write_bytes(write_repeated_text(rows))
    code = target.run("ingest").code
    path.unlink()
    is_alive = psutil.pid_exists(pid)
    assert wait_until(lambda: target.run("status").code == 0, 60)
    return f"exit {code}, the enclave {'runs on' if is_alive else 'ended'}"
