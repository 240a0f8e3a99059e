"""SFTP: trusted host keys, and hostile or faulty servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.builders.sftp_vendor import Vendor
from wellspring.data.sources.sftp import SftpSource
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.records.clock import SystemClock


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    with Vendor(tmp_path / "vendor").open() as opened_files:
        yield opened_files


def test_an_unpinned_host_key_is_refused(vendor: Vendor) -> None:
    vendor.put("a.csv", b"x\n1\n")
    vendor.pin(asyncssh.generate_private_key("ssh-ed25519"))
    with pytest.raises(Refused, match="has a host key that is not in"):
        vendor.source().list()


@pytest.mark.parametrize("text", ["", "\n# nobody\n"])
def test_empty_known_hosts_matches_no_server(vendor: Vendor, text: str) -> None:
    vendor.known_hosts.write_text(text)
    with pytest.raises(Refused, match="has a host key that is not in"):
        vendor.source().list()


def test_a_missing_known_hosts_is_refused(vendor: Vendor) -> None:
    vendor.known_hosts.unlink()
    with pytest.raises(Refused, match="no pinned host key"):
        vendor.source().list()


def test_a_wrong_user_key_is_refused(vendor: Vendor) -> None:
    vendor.user_key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(Refused, match="rejected the login of 'wellspring'"):
        vendor.source().list()


def test_a_broken_user_key_is_refused(vendor: Vendor) -> None:
    vendor.user_key = "no key"
    with pytest.raises(Refused, match="not a private key"):
        vendor.source().list()


def test_missing_folder_is_reported(vendor: Vendor) -> None:
    vendor.outbox.rmdir()
    with pytest.raises(NotFound, match="folder"):
        vendor.source().list()


def test_a_name_that_is_not_utf8_hides_no_other_file(vendor: Vendor) -> None:
    vendor.put("a.csv", b"x\n1\n")
    with open(os.fsencode(vendor.outbox) + b"/caf\xe9.csv", "wb") as file:
        file.write(b"x\n2\n")
    assert {matches.name for matches in vendor.source().list()} == {"a.csv", "caf\\xe9.csv"}


def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with Vendor(tmp_path / "vendor").open() as vendor:
        source: SftpSource = vendor.source()
    with pytest.raises(Unavailable, match="does not answer"):
        source.list()


def test_oversized_file_is_refused(vendor: Vendor) -> None:
    vendor.put("a.csv", b"x" * 1001)
    with pytest.raises(Refused, match="more than the limit of 1,000"):
        vendor.source(largest=1000).fetch("a.csv")


def test_address_is_resolved_for_each_call(vendor: Vendor) -> None:
    requests = []
    source = SftpSource(
        "clearinghouse",
        address=lambda: requests.append(1) or ("127.0.0.1", vendor.port),  # type: ignore[func-returns-value]
        user="wellspring",
        folder="/outbox",
        private_key=vendor.user_key,
        known_hosts=vendor.known_hosts,
        settle_seconds=0,
        clock=SystemClock(),
    )
    source.list()
    source.list()
    assert len(requests) == 2
