"""Settings of a bucket behind the S3 API."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from wellspring.settings import SourceSettings


def _validate_endpoint(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in {"https", "http"} or not parts.hostname):
        raise ValueError("an endpoint is https://host or https://host:port; leave it out for AWS")
    if parts.scheme == "http" and not _is_loopback(str(parts.hostname)):
        raise ValueError(
            "use https: files would cross the network unencrypted (http is for an address of this machine)"
        )
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _validate_prefix(prefix: str) -> str:
    if prefix.startswith("/"):
        raise ValueError("a prefix does not begin with a slash")
    return prefix


class S3Settings(SourceSettings):
    """[sources.NAME] of kind s3: the objects below a prefix whose names match a glob.

    prefix: as of a folder; a slash is added at its end. glob: for the rest of the key; `*` does not cross a slash, `**`
    does. endpoint_url: of another S3 API than AWS. credentials: stored in OpenBao, or those of the machine's role.
    ca_bundle: the certificate authority of the endpoint, relative to the project.
    """

    kind: Literal["s3"]
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    region: str = Field(pattern=r"^[a-z0-9-]{2,32}$")
    prefix: Annotated[str, AfterValidator(_validate_prefix)] = ""
    glob: str = Field(default="*", min_length=1)
    endpoint_url: Annotated[str, AfterValidator(_validate_endpoint)] = ""
    credentials: Literal["stored", "instance_role"] = "stored"
    ca_bundle: Path | None = None

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.key_prefix}"

    @property
    def key_prefix(self) -> str:
        """The prefix of all keys: empty, or with a slash at its end."""
        return f"{self.prefix.rstrip('/')}/" if self.prefix else ""

    def readable_paths(self, root: Path) -> tuple[Path, ...]:
        return () if self.ca_bundle is None else (root / self.ca_bundle,)

    def secret_path(self, name: str) -> str | None:
        return None if self.credentials == "instance_role" else super().secret_path(name)
