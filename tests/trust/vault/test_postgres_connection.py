"""A connection to PostgreSQL logs in with SCRAM, to the expected user only, and fails within its time."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.builders.postgres import PASSWORD, Database, database
from wellspring.embedded.postgres import SOCKET_NAME
from wellspring.errors import Unavailable
from wellspring.runtime.unix_socket import ServerSocket
from wellspring.trust.vault import postgres_connection
from wellspring.trust.vault.postgres_connection import connect_postgres

LOGIN = {"user": "enclave", "dbname": "enclave", "password": PASSWORD}


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with database() as running:
        yield running


def test_a_login_works_and_commits_each_statement(server: Database):
    with connect_postgres(server.server, LOGIN) as connection:
        assert connection.execute("SELECT 1 AS one").fetchall() == [{"one": 1}]
        assert connection.autocommit


def test_a_server_of_another_user_is_refused_before_the_login(server: Database):
    with pytest.raises(Unavailable, match="nothing was sent to it"):
        connect_postgres(server.server._replace(uid=server.server.uid + 1), LOGIN)


def test_a_login_without_scram_is_refused(server: Database):
    # The tests' superuser needs no password: a server that asks for none, or for one in clear, is not ours.
    with pytest.raises(psycopg.OperationalError, match="scram-sha-256"):
        connect_postgres(server.server, {"user": "postgres", "dbname": "postgres"})


def test_a_wrong_password_and_a_missing_server_are_errors(server: Database, tmp_path: Path):
    with pytest.raises(psycopg.OperationalError):
        connect_postgres(server.server, {**LOGIN, "password": "wrong"})
    with pytest.raises(psycopg.OperationalError):
        connect_postgres(ServerSocket(tmp_path, os.geteuid()), LOGIN)


def test_a_server_that_says_nothing_is_left_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres_connection, "_CONNECT_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / SOCKET_NAME))
        silent.listen()
        with pytest.raises(psycopg.OperationalError):
            connect_postgres(ServerSocket(tmp_path, os.geteuid()), LOGIN)
