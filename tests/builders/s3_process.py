"""An S3 API (moto) in a process of its own, for projects whose enclave is another process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REGION = "us-east-1"
BUCKET = "drops"
PREFIX = "outbox/"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class S3Process:
    """A running server with one bucket. credentials: of a user who may read it, as `source login` expects them."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._process = process
        user = self._client("iam")
        user.create_user(UserName="wellspring")
        user.put_user_policy(UserName="wellspring", PolicyName="read", PolicyDocument=json.dumps(POLICY))
        key = user.create_access_key(UserName="wellspring")["AccessKey"]
        self.credentials = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
        self._client("s3").create_bucket(Bucket=BUCKET)
        # From now on the server checks each signature and each policy.
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=60).close()

    def put(self, name: str, content: bytes) -> None:
        """Write an object below the prefix."""
        self._client("s3", self.credentials).put_object(Bucket=BUCKET, Key=PREFIX + name, Body=content)

    @property
    def source_table(self) -> str:
        """The table of this bucket in wellspring.toml, without its header."""
        lines = {"kind": "s3", "bucket": BUCKET, "region": REGION, "prefix": PREFIX, "endpoint_url": self.endpoint}
        return "".join(f'{key} = "{value}"\n' for key, value in lines.items()) + "settle_seconds = 0\n"

    def close(self) -> None:
        """Stop the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _client(self, service: str, credentials: dict[str, str] | None = None) -> Any:
        import boto3

        keys = credentials or {"access_key_id": "vendor", "secret_access_key": "vendor"}
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
        )


def start_s3() -> S3Process:
    """Start a server; it ends with this process, however that ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.builders.s3_process"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return S3Process(process, int(process.stdout.readline()))


@contextmanager
def running_s3_process() -> Iterator[S3Process]:
    """Start a server, and stop it at the end."""
    s3 = start_s3()
    try:
        yield s3
    finally:
        s3.close()


def use_s3_source(toml: str, s3: S3Process) -> str:
    """Replace the source `clearinghouse` in the text of a wellspring.toml by the bucket."""
    before, _, rest = toml.partition("[sources.clearinghouse]\n")
    after = rest[rest.index("\n[") :] if "\n[" in rest else ""
    return f"{before}[sources.clearinghouse]\n{s3.source_table}{after}"


def serve() -> None:
    """Serve on a free port, print the port, and end when standard input is closed."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
