"""Settings of a folder on an SFTP server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from wellspring.settings import SourceSettings

EMBEDDED = "embedded"
EMBEDDED_SECRET = "enclave/sftp"  # noqa: S105 (the path of a secret)
"""Path of the key for the embedded server, which the first `wellspring up` creates."""


def _validate_address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    # A word without a dot is more likely a misspelled `embedded` than a host.
    is_valid = bool(host) and port.isdecimal() and 0 < int(port) < 65536 if colon else "." in text
    if text != EMBEDDED and not is_valid:
        raise ValueError("an address is host:port, or `embedded` for the SFTP server that `wellspring up` starts")
    return text


class SftpSettings(SourceSettings):
    """[sources.NAME] of kind sftp. address: host:port, or `embedded` for the SFTP server that `wellspring up` starts.

    known_hosts: the pinned host key (OpenSSH format), relative to the project.
    """

    kind: Literal["sftp"]
    address: Annotated[str, AfterValidator(_validate_address)] = EMBEDDED
    user: str = "wellspring"
    folder: str = "outbox"
    known_hosts: Path = Path("vendor/known_hosts")

    @property
    def embedded_server(self) -> str | None:
        return "sftp" if self.address == EMBEDDED else None

    @property
    def place(self) -> str:
        return f"{self.folder} of {self.address}"

    def drop_folder(self, root: Path) -> Path | None:
        return root / "vendor" / self.folder if self.address == EMBEDDED else None

    def readable_paths(self, root: Path) -> tuple[Path, ...]:
        return (root / self.known_hosts,)

    def secret_path(self, name: str) -> str | None:
        return EMBEDDED_SECRET if self.address == EMBEDDED else super().secret_path(name)
