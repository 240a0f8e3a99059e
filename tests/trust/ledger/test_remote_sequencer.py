"""The client of the sequencer without a server; `tests/sequencer/test_request_server.py` has both sides."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from tests.builders.sockets import own_server
from wellspring.errors import Unavailable
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer


def test_without_a_sequencer_nothing_is_claimed(tmp_path: Path):
    sequencer = RemoteSequencer(own_server(tmp_path / "none.sock"), "worker")
    for request in (sequencer.integrate, sequencer.read_status):
        with pytest.raises(Unavailable, match="the sequencer does not respond") as raised:
            request()
        assert raised.value.fix == "run `wellspring up`"


def test_a_sequencer_that_ends_before_it_responds_is_unavailable():
    with tempfile.TemporaryDirectory(prefix="ws-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "s.sock"
        listener.bind(str(path))
        listener.listen(1)
        listener.shutdown(socket.SHUT_RDWR)
        with pytest.raises(Unavailable):
            RemoteSequencer(own_server(path), "worker").integrate()
