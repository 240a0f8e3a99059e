"""An S3 API (moto) in this process, on a port: a test can look into each read, set times, and inject faults."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from tests.builders.sftp_vendor import OnRead
from wellspring.data.sources.port import SourceContext
from wellspring.data.sources.s3.settings import S3Settings
from wellspring.data.sources.s3.source import S3Source
from wellspring.records.clock import Clock, SystemClock

BLOCK_SIZE = 131072
PREFIX = "outbox/"
REGION = "us-east-1"


class Fault(NamedTuple):
    """A response in place of moto's."""

    status: str
    code: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        return f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>m</Message></Error>".encode()


FindFault = Callable[[str, str], Fault | None]
"""Called with (method, path)."""


class S3Server:
    """A bucket of its own on a running server. fault: replaces responses; headers: added to each response."""

    def __init__(self, app: Any, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.bucket = f"drops-{secrets.token_hex(6)}"
        self.on_read: OnRead | None = None
        self.reads = 0
        self.requests: list[tuple[str, str]] = []
        self.fault: FindFault | None = None
        self.headers: tuple[tuple[str, str], ...] = ()
        self._app = app
        self._clock: Clock | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = environ.get("QUERY_STRING", "")
        self.requests.append((method, f"{path}?{query}" if query else path))
        fault = self.fault(method, path) if self.fault is not None else None
        if fault is not None:
            start_response(fault.status, [("Content-Type", "application/xml"), *fault.headers])
            return [b"" if method == "HEAD" else fault.body]
        statuses: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            statuses.append(status)
            plain = [(name, value) for name, value in headers if name.lower() != "date"]
            return start_response(status, [*plain, ("Date", self.date), *self.headers])

        body = b"".join(self._app(environ, start))
        key = unquote(path).removeprefix(f"/{self.bucket}/{PREFIX}")
        if method == "GET" and statuses == ["200 OK"] and key != unquote(path) and key:
            return self._send_blocks(key, body)
        return [body]

    def _send_blocks(self, key: str, body: bytes) -> Iterator[bytes]:
        for offset in range(0, max(len(body), 1), BLOCK_SIZE):
            self.reads += 1
            if self.on_read is not None:
                self.on_read(key, offset)
            yield body[offset : offset + BLOCK_SIZE]

    @property
    def date(self) -> str:
        """The time of the server, for the header."""
        return format_datetime((self._clock or SystemClock()).now(), usegmt=True)

    @cached_property
    def client(self) -> Any:
        return open_client(self.endpoint)

    @property
    def objects(self) -> Any:
        """The objects of the bucket inside moto, by key."""
        from moto.s3.models import s3_backends

        return s3_backends["123456789012"]["aws"].buckets[self.bucket].keys

    def put(self, name: str, content: bytes, *, modified: datetime | None = None, **options: Any) -> None:
        """Write an object below the prefix. modified: its time; by default, now."""
        self.client.put_object(Bucket=self.bucket, Key=PREFIX + name, Body=content, **options)
        if modified is not None:
            self.objects[PREFIX + name].last_modified = modified.astimezone(UTC).replace(tzinfo=None)

    def put_inside(self, name: str, content: bytes) -> None:
        """Write an object inside moto, under a name that its routes do not accept."""
        from moto.s3.models import s3_backends

        s3_backends["123456789012"]["aws"].put_object(self.bucket, PREFIX + name, content)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=PREFIX + name)

    def settings(self, **changes: Any) -> S3Settings:
        """Return the settings of the bucket as a source."""
        values: dict[str, Any] = {
            "kind": "s3", "bucket": self.bucket, "region": REGION, "prefix": PREFIX, "endpoint_url": self.endpoint,
            "settle_seconds": 0, "max_bytes": 1 << 30,
        }  # fmt: skip
        return S3Settings(**{**values, **changes})

    def source(
        self, *, settle_seconds: float = 0, clock: Clock | None = None, max_bytes: int = 1 << 30, **changes: Any
    ) -> S3Source:
        """Open the bucket as the source `clearinghouse`. clock: also that of the server."""
        self._clock = clock
        settings = self.settings(settle_seconds=settle_seconds, max_bytes=max_bytes, **changes)
        credentials = {"access_key_id": "test", "secret_access_key": "test"}
        return S3Source(SourceContext("clearinghouse", settings, Path("/"), credentials, clock or SystemClock()))


def open_client(endpoint: str) -> Any:
    """Open a client of the vendor."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id="vendor", aws_secret_access_key="vendor"
    )


@contextmanager
def running_s3(_folder: Path) -> Iterator[S3Server]:
    """Start a server with one empty bucket."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        """Writes no log and no date of its own."""

        def send_response(self, code: int, message: str | None = None) -> None:
            self.send_response_only(code, message)

        def log(self, *_: Any) -> None:
            return None

    app = DomainDispatcherApplication(create_backend_app)
    routes: list[S3Server] = []
    server = make_server(
        "127.0.0.1", 0, lambda environ, start: routes[0](environ, start), threaded=True, request_handler=Handler
    )
    s3 = S3Server(app, server.server_port)
    routes.append(s3)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        s3.client.create_bucket(Bucket=s3.bucket)
        yield s3
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
