"""An SFTP server, for the suite of sources."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.sftp_vendor import Vendor


@contextmanager
def running_sftp(folder: Path) -> Iterator[Vendor]:
    """Start an SFTP server."""
    with Vendor(folder / "vendor").open() as vendor:
        yield vendor


BUILDER = running_sftp
