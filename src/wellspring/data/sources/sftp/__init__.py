"""A folder on an SFTP server, with a pinned host key."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wellspring.data.sources.port import FileSource, SecretKey, SourceContext, SourceKind, SourceProblem
from wellspring.data.sources.sftp.settings import SftpSettings
from wellspring.errors import describe_install
from wellspring.settings import SourceSettings

_TEMPLATE = """\
kind = "sftp"
address = "embedded"      # an SFTP server that `wellspring up` starts, for trials; a vendor's server is host:port
folder = "outbox"
settle_seconds = 0        # 0 if the vendor renames a finished file into place; else the seconds that a write takes
"""


def open_sftp(context: SourceContext) -> FileSource:
    """Open the source; it connects at its first operation."""
    from wellspring.data.sources.sftp.source import SftpSource

    return SftpSource(context)


def find_sftp_problems(settings: SourceSettings, root: Path) -> Iterable[SourceProblem]:
    """Check that the host key of a server elsewhere is pinned."""
    assert isinstance(settings, SftpSettings)
    path = root / settings.known_hosts
    if settings.embedded_server is None and not path.is_file():
        yield SourceProblem(
            f"the host key of {settings.address} is not pinned: {path} does not exist",
            "write the host key of the vendor to it, in the known_hosts format of OpenSSH",
        )


SFTP = SourceKind(
    settings=SftpSettings,
    open=open_sftp,
    packages=("asyncssh",),
    install=describe_install("servers"),
    secret_keys=(SecretKey("private_key", multiline=True),),
    template=_TEMPLATE,
    find_problems=find_sftp_problems,
)
"""What `kind = "sftp"` names."""
