"""The worker asks for a credential on the socket that it has inherited."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wellspring.errors import Refused, Unavailable, encode_error
from wellspring.runtime.process import Credential
from wellspring.worker.credential_client import CredentialClient


@contextmanager
def answered(response: bytes) -> Iterator[CredentialClient]:
    """Open a client whose supervisor answers each request with this response."""
    own, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def serve() -> None:
        with own:
            while own.recv(100):
                own.send(response)

    thread = threading.Thread(target=serve)
    thread.start()
    client = CredentialClient(remote)
    yield client
    client.close()
    thread.join()


def test_each_request_returns_a_credential():
    with answered(b'{"role_id": "r", "wrapped": "w"}') as client:
        assert [client.request_credential() for _ in range(2)] == [Credential("r", "w")] * 2


def test_an_error_of_the_supervisor_is_raised():
    message = {"error": encode_error(Refused("no", fix="ask"))}
    with answered(json.dumps(message).encode()) as client, pytest.raises(Refused, match="no"):
        client.request_credential()


@pytest.mark.parametrize("response", [b"", b"no json", b"{}"])
def test_without_an_answer_it_is_unavailable(response: bytes):
    with answered(response) as client, pytest.raises(Unavailable, match="no credential"):
        client.request_credential()


def test_no_child_inherits_the_socket():
    own, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    remote.set_inheritable(True)
    client = CredentialClient(remote)
    assert not remote.get_inheritable()
    own.close()
    with pytest.raises(Unavailable):
        client.request_credential()
    client.close()
