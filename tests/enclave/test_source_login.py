"""Credentials of a source are stored where only the enclave reads them, and recorded without their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders.memory_secrets import MemorySecrets
from tests.builders.recording_step import RecordingStep
from wellspring.enclave.source_login import MAX_VALUE_LENGTH, SourceLogin
from wellspring.errors import NotFound, Refused
from wellspring.project import PROJECT_FILE, load_project
from wellspring.runtime.service_users import ServiceUsers

SERVICE_UIDS = ServiceUsers().uids

TOML = """
[project]
name = "plan"
tenant = "t1"

[sources.inbox]
kind = "sftp"
address = "sftp.example.com:22"

[sources.trial]
kind = "sftp"
"""
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----"


class LoginFixture:
    """The handler, with its secrets and its entries."""

    def __init__(self, folder: Path) -> None:
        (folder / PROJECT_FILE).write_text(TOML)
        self.secrets = MemorySecrets()
        self.step = RecordingStep()
        self.handler = SourceLogin(load_project(folder), self.secrets, step=self.step)

    def store(self, source: str, values: Any, *, uid: int = 0) -> Any:
        return self.handler.store_credentials({"op": "store_credentials", "source": source, "values": values}, uid)


@pytest.fixture
def login(tmp_path: Path) -> LoginFixture:
    return LoginFixture(tmp_path)


def test_credentials_are_stored_under_the_path_of_their_source(login: LoginFixture):
    assert login.store("inbox", {"private_key": KEY}, uid=1000) == ["private_key"]
    assert login.secrets.values == {"enclave/sources/inbox": {"private_key": KEY}}


def test_the_entry_names_the_keys_and_no_value(login: LoginFixture):
    login.store("inbox", {"private_key": KEY}, uid=1000)
    (entry,) = login.step.entries
    assert (entry.action, entry.subject, entry.phase) == ("login_source", "source:inbox", "done")
    assert entry.facts == {"keys": ["private_key"], "uid": 1000}
    assert KEY not in entry.model_dump_json()


def test_the_worker_may_not_change_credentials(login: LoginFixture):
    with pytest.raises(Refused, match="the worker may not"):
        login.store("inbox", {"private_key": KEY}, uid=SERVICE_UIDS["worker"])
    assert login.secrets.values == {}
    assert [entry.phase for entry in login.step.entries] == ["refused"]


def test_the_key_of_the_embedded_server_cannot_be_replaced(login: LoginFixture):
    with pytest.raises(Refused, match="is served by `wellspring up`"):
        login.store("trial", {"private_key": KEY})
    assert login.secrets.values == {}


def test_an_unknown_source_suggests_the_nearest_one(login: LoginFixture):
    with pytest.raises(NotFound) as error:
        login.store("inbx", {"private_key": KEY})
    assert error.value.fix == "did you mean 'inbox'?"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "lack private_key"),
        ({"private_key": ""}, "lack private_key"),
        ({"private_key": 7}, "lack private_key"),
        ({"private_key": "x" * (MAX_VALUE_LENGTH + 1)}, "has more than 32,768 characters"),
        ("text", "not an object of texts"),
        (None, "not an object of texts"),
    ],
)
def test_incomplete_credentials_are_refused_without_their_value(login: LoginFixture, values: Any, message: str):
    with pytest.raises(Refused, match=message) as error:
        login.store("inbox", values)
    assert "xxx" not in error.value.what
    assert login.secrets.values == {}


def test_an_unknown_key_is_not_repeated_because_it_may_be_the_secret(login: LoginFixture):
    with pytest.raises(NotFound) as error:
        login.store("inbox", {KEY: "private_key"})
    assert error.value.what == "1 of the keys are unknown"
    assert error.value.fix.endswith(": private_key")
