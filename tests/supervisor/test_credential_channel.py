"""The socket on which the supervisor issues credentials to the worker."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys

import pytest

from wellspring.errors import Unavailable
from wellspring.runtime.unix_socket import PeerCredentials
from wellspring.supervisor.credential_channel import CredentialChannel


def issue() -> dict[str, str]:
    return {"role_id": "r", "wrapped": "w"}


def find_self() -> PeerCredentials:
    return PeerCredentials(os.getpid(), os.getuid())


def take_remote(channel: CredentialChannel) -> socket.socket:
    """Return the worker's end, as the worker inherits it."""
    remote = socket.socket(fileno=os.dup(channel.open_pair()))
    channel.close_remote()
    return remote


def test_a_request_gets_a_credential_and_the_channel_is_watched():
    channel = CredentialChannel(issue, find_self)
    with selectors.DefaultSelector() as selector, take_remote(channel) as remote:
        watched = channel.watch_in(selector, -1)
        remote.send(b'{"op": "credential"}')
        assert [key.fd for key, _ in selector.select(5)] == [watched]
        channel.serve_one()
        assert json.loads(remote.recv(4096)) == issue()
        assert channel.watch_in(selector, watched) == watched
    channel.close()


def test_another_request_is_refused_and_an_error_is_passed_on():
    def fail() -> dict[str, str]:
        raise Unavailable("OpenBao is sealed", fix="run `wellspring up`")

    channel = CredentialChannel(fail, find_self)
    with take_remote(channel) as remote:
        for request, slug in ((b'{"op": "enroll"}', "refused"), (b'{"op": "credential"}', "unavailable")):
            remote.send(request)
            channel.serve_one()
            assert json.loads(remote.recv(4096))["error"]["slug"] == slug
    channel.close()


def test_with_the_worker_gone_the_pair_is_closed():
    channel = CredentialChannel(issue, find_self)
    assert channel.fileno() == -1
    channel.serve_one()
    take_remote(channel).close()
    channel.serve_one()
    assert channel.fileno() == -1
    channel.close()


def test_each_start_has_a_new_pair_and_the_old_one_is_useless():
    channel = CredentialChannel(issue, find_self)
    with selectors.DefaultSelector() as selector, take_remote(channel) as old:
        watched = channel.watch_in(selector, -1)
        with take_remote(channel) as new:
            watched = channel.watch_in(selector, watched)
            new.send(b'{"op": "credential"}')
            channel.serve_one()
            assert json.loads(new.recv(4096)) == issue()
            with pytest.raises(BrokenPipeError):
                old.send(b'{"op": "credential"}')
        channel.close()
        assert channel.watch_in(selector, watched) == -1


def test_without_a_request_nothing_waits():
    channel = CredentialChannel(issue, find_self)
    with take_remote(channel):
        channel.serve_one()
        assert channel.fileno() != -1
    channel.close()


def test_a_child_that_inherited_the_socket_gets_no_credential():
    channel = CredentialChannel(issue, find_self)
    with take_remote(channel) as remote:
        code = f'import socket; socket.socket(fileno={remote.fileno()}).send(b\'{{"op": "credential"}}\')'
        subprocess.run([sys.executable, "-c", code], pass_fds=(remote.fileno(),), check=True)
        channel.serve_one()
        assert json.loads(remote.recv(4096))["error"]["slug"] == "refused"
    channel.close()


def test_a_process_of_another_user_gets_no_credential():
    channel = CredentialChannel(issue, lambda: find_self()._replace(uid=os.getuid() + 1))
    with take_remote(channel) as remote:
        remote.send(b'{"op": "credential"}')
        channel.serve_one()
        assert json.loads(remote.recv(4096))["error"]["slug"] == "refused"
    channel.close()
