"""The client uses the credentials of its source and nothing of the environment."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from wellspring.data.sources.port import SourceContext
from wellspring.data.sources.s3.connection import create_client
from wellspring.data.sources.s3.settings import S3Settings
from wellspring.data.sources.s3.source import S3Source
from wellspring.errors import Refused
from wellspring.records.clock import SystemClock


def context(secret: dict[str, str], **changes: Any) -> SourceContext:
    settings = S3Settings(**{"kind": "s3", "bucket": "drops", "region": "eu-central-1", **changes})
    return SourceContext("inbox", settings, Path("/"), secret, SystemClock())


def open_client(source: SourceContext, **options: Any) -> Any:
    assert isinstance(source.settings, S3Settings)
    return create_client(source, source.settings, **options)


def keys_of(client: Any) -> tuple[str, str, str | None]:
    resolved = client._request_signer._credentials.get_frozen_credentials()
    return resolved.access_key, resolved.secret_key, resolved.token


def test_stored_credentials_are_used_whatever_the_environment_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-shell")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-shell")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    (tmp_path / "config").write_text("[default]\nregion = us-west-1\nendpoint_url = http://127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    client = open_client(context({"access_key_id": "a", "secret_access_key": "s", "session_token": "t"}))
    assert keys_of(client) == ("a", "s", "t")
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"
    assert client.meta.config.signature_version == "s3v4"


def test_another_api_is_reached_at_its_endpoint_with_the_bucket_in_the_path():
    client = open_client(
        context({"access_key_id": "a", "secret_access_key": "s"}, endpoint_url="https://s3.example.com")
    )
    assert client.meta.endpoint_url == "https://s3.example.com"
    assert client.meta.config.s3["addressing_style"] == "path"


class Metadata(BaseHTTPRequestHandler):
    """The metadata service of a machine with a role."""

    def do_PUT(self) -> None:
        self._reply("token")

    def do_GET(self) -> None:
        assert self.headers["x-aws-ec2-metadata-token"] == "token"
        if self.path.endswith("/security-credentials/"):
            self._reply("intake-role")
            return
        values = {
            "Code": "Success", "AccessKeyId": "of-the-role", "SecretAccessKey": "s", "Token": "t",
            "Expiration": "2099-01-01T00:00:00Z",
        }  # fmt: skip
        self._reply(json.dumps(values))

    def _reply(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        return None


@pytest.fixture
def metadata_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(60)
    server.server_close()


def test_the_role_of_the_machine_gives_the_credentials(metadata_url: str):
    client = open_client(context({}, credentials="instance_role"), metadata_url=metadata_url)
    assert keys_of(client) == ("of-the-role", "s", "t")


def test_a_machine_without_a_role_is_refused():
    # Nothing listens on this port.
    source = S3Source(context({}, credentials="instance_role"), metadata_url="http://127.0.0.1:1/")
    with pytest.raises(Refused, match="this machine has no role"):
        source.list()


@pytest.mark.parametrize("secret", [{}, {"access_key_id": "a"}, {"access_key_id": "", "secret_access_key": "s"}])
def test_incomplete_credentials_are_refused_before_a_request(secret: dict[str, str]):
    with pytest.raises(Refused, match="incomplete credentials"):
        S3Source(context(secret, endpoint_url="http://127.0.0.1:1")).list()
