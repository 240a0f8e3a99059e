"""SFTP: trusted host keys, and hostile or faulty servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.builders.sftp_vendor import Vendor
from wellspring.data.sources.sftp.settings import SftpSettings
from wellspring.data.sources.sftp.source import SftpSource, find_address
from wellspring.errors import NotFound, Refused, Unavailable


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


def test_embedded_vendor_address_comes_from_its_pinned_key(tmp_path: Path) -> None:
    pinned = tmp_path / "known_hosts"
    embedded = SftpSettings(kind="sftp")
    with pytest.raises(Unavailable, match="not running"):
        find_address("clearinghouse", embedded, pinned)
    pinned.write_text("[127.0.0.1]:2222 ssh-ed25519 AAAA\n")
    assert find_address("clearinghouse", embedded, pinned) == ("127.0.0.1", 2222)
    pinned.write_text("[127.0.0.1]:3333 ssh-ed25519 AAAA\n")
    assert find_address("clearinghouse", embedded, pinned) == ("127.0.0.1", 3333), "it is read for each connection"


@pytest.mark.parametrize(("written", "port"), [("sftp.example.com:2022", 2022), ("sftp.example.com", 22)])
def test_the_port_of_a_server_elsewhere_is_22_unless_it_is_set(tmp_path: Path, written: str, port: int) -> None:
    settings = SftpSettings(kind="sftp", address=written)
    assert find_address("clearinghouse", settings, tmp_path / "known_hosts") == ("sftp.example.com", port)


def test_a_file_that_the_server_cannot_read_on_is_refused_alone(vendor: Vendor) -> None:
    def fail(_name: str, offset: int) -> None:
        if offset > 1 << 20:
            raise OSError

    vendor.put("a.csv", b"x" * (3 << 20))
    vendor.on_read = fail
    with vendor.source().open("a.csv") as stream, pytest.raises(Refused, match="does not give it") as refused:
        list(iter(lambda: stream.read(1 << 20), b""))
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["unreadable_file"]


def test_a_file_that_may_not_be_read_is_refused_alone(vendor: Vendor) -> None:
    vendor.put("a.csv", b"x")
    vendor.put("b.csv", b"y")
    vendor.denied.add("a.csv")
    with pytest.raises(Refused) as refused, vendor.source().open("a.csv"):
        pass
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["unreadable_file"]
    with vendor.source().open("b.csv") as stream:
        assert stream.read(9) == b"y"


def test_a_file_without_attributes_is_refused_alone(vendor: Vendor) -> None:
    vendor.put("a.csv", b"x")
    vendor.unstated.add("a.csv")
    with pytest.raises(Refused) as refused, vendor.source().open("a.csv"):
        pass
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["unreadable_file"]


@pytest.mark.parametrize("attribute", ["size", "mtime"])
def test_a_server_that_does_not_report_an_attribute_hides_no_file(vendor: Vendor, attribute: str) -> None:
    vendor.put("a.csv", b"xyz")
    vendor.hidden_attributes = {attribute}
    source = vendor.source(settle_seconds=5)
    (file,) = source.list()
    assert (file.name, file.is_dated) == ("a.csv", attribute == "size")
    if attribute == "mtime":
        with source.open("a.csv") as stream:
            assert stream.read(9) + stream.read(9) == b"xyz"
        return
    with pytest.raises(Refused, match="does not report its size") as refused, source.open("a.csv"):
        pass
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["unreadable_file"]


def test_a_server_that_reports_no_types_hides_no_file(vendor: Vendor) -> None:
    vendor.put("a.csv", b"x")
    vendor.hidden_attributes = {"type"}
    source = vendor.source()
    assert [file.name for file in source.list()] == ["a.csv"]
    with source.open("a.csv") as stream:
        assert stream.read(9) == b"x"
