"""Settings of an SFTP source: its address, its files and its credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from wellspring.data.sources.sftp.settings import SftpSettings


def test_an_embedded_source_has_a_local_folder_and_the_key_of_the_embedded_server(tmp_path: Path):
    settings = SftpSettings(kind="sftp", folder="inbox")
    assert settings.embedded_server == "sftp"
    assert settings.drop_folder(tmp_path) == tmp_path / "vendor" / "inbox"
    assert settings.secret_path("clearinghouse") == "enclave/sftp"


def test_a_source_elsewhere_has_credentials_of_its_own(tmp_path: Path):
    settings = SftpSettings(kind="sftp", address="sftp.example.com:22", known_hosts=Path("keys/vendor"))
    assert settings.embedded_server is None
    assert settings.drop_folder(tmp_path) is None
    assert settings.secret_path("clearinghouse") == "enclave/sources/clearinghouse"
    assert settings.readable_paths(tmp_path) == (tmp_path / "keys/vendor",)
    assert settings.place == "outbox of sftp.example.com:22"


@pytest.mark.parametrize("written", ["embeded", "sftp.example.com:", "sftp.example.com:70000", ":22", "host:sftp"])
def test_an_invalid_address_is_refused(written: str):
    with pytest.raises(ValidationError, match="an address is host:port"):
        SftpSettings(kind="sftp", address=written)
