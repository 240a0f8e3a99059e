"""The `source` commands: secrets come from the terminal or standard input, and are never printed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.builders.command_line import Run
from wellspring.trust.vault.remote import EnclaveClient

ELSEWHERE = '\n[sources.inbox]\nkind = "sftp"\naddress = "sftp.example.com:22"\n'


@pytest.fixture
def stored(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Add a source, and collect what is sent to the enclave."""
    with (root / "wellspring.toml").open("a") as toml:
        toml.write(ELSEWHERE)
    calls: list[tuple[str, dict[str, str]]] = []

    def store_credentials(_client: EnclaveClient, source: str, values: dict[str, str]) -> tuple[str, ...]:
        calls.append((source, values))
        return tuple(sorted(values))

    monkeypatch.setattr(EnclaveClient, "store_credentials", store_credentials)
    return calls


class Terminal(io.StringIO):
    """Standard input of a person."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("stored")
def test_sources_are_listed_with_their_place_and_secret(run: Run, root: Path):
    output = run("source", "list", "--project", root)
    assert output.code == 0
    assert "outbox of sftp.example.com:22" in output.out
    assert "installed kinds:" in output.out
    document = run("source", "list", "--json", "--project", root).document
    assert [(row["name"], row["secret"]) for row in document] == [
        ("clearinghouse", "enclave/sftp"),
        ("inbox", "enclave/sources/inbox"),
    ]


def test_one_secret_is_read_from_standard_input_as_it_is(
    run: Run, root: Path, stored: list[tuple[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", io.StringIO("KEY\nline 2\n"))
    output = run("source", "login", "inbox", "--project", root)
    assert output.code == 0, output.err
    assert stored == [("inbox", {"private_key": "KEY\nline 2\n"})]
    assert "stored the credentials of inbox: private_key" in output.out
    assert "KEY" not in output.out + output.err
    assert output.out.splitlines()[-1] == "next: wellspring ingest inbox"


@pytest.mark.parametrize(
    "text",
    [
        '{"access_key_id": "A1", "access_key_id": "A2", "secret_access_key": "S"}',
        '{"access_key_id": "A1", "secret_access_key": "S", "session_token": ["tok"]}',
        '{"access_key_id": "A1", "secret_access_key": "S", "session_token": 123}',
        '[["access_key_id", "A1"], ["secret_access_key", "S"]]',
        '["ab", "cd"]',
    ],
)
def test_credentials_are_one_object_of_texts(
    run: Run, root: Path, stored: list[tuple[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch, text: str
):
    with (root / "wellspring.toml").open("a") as toml:
        toml.write('\n[sources.bucket]\nkind = "s3"\nbucket = "drops"\nregion = "eu-central-1"\n')
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    output = run("source", "login", "bucket", "--project", root)
    assert (output.code, stored) == (64, [])
    assert "each key once" in output.err


def test_a_secret_of_several_lines_cannot_be_typed(
    run: Run, root: Path, stored: list[tuple[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", Terminal("KEY\n"))
    output = run("source", "login", "inbox", "--project", root)
    assert output.code == 64
    assert "wellspring source login inbox < FILE" in output.err
    assert stored == []


def test_an_embedded_source_is_refused_before_anything_is_read(
    run: Run, root: Path, stored: list[tuple[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", io.StringIO("KEY"))
    output = run("source", "login", "clearinghouse", "--project", root)
    assert output.code == 77
    assert "is served by `wellspring up`" in output.err
    assert stored == []


def test_a_project_that_is_not_up_is_unavailable(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch):
    with (root / "wellspring.toml").open("a") as toml:
        toml.write(ELSEWHERE)
    monkeypatch.setattr("sys.stdin", io.StringIO("KEY"))
    assert run("source", "login", "inbox", "--project", root).code == 69
