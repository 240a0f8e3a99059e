import base64
import http.client
import socket as sockets
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.checkpoints import LEAVES, LOG, checkpoint
from tests.builders.ledger import Ledger
from tests.builders.merkle import subproof
from tests.builders.recording_step import FixedClock
from tests.builders.sockets import own_server
from wellspring.errors import Unavailable
from wellspring.trust.ledger.witness import LocalWitness, RemoteWitness, WitnessServer


@pytest.fixture
def short() -> Iterator[Path]:
    # A socket's path has 107 bytes: pytest's own folders can be too deep.
    with tempfile.TemporaryDirectory(prefix="ws-") as folder:
        yield Path(folder)


@pytest.fixture
def server(short: Path) -> Iterator[WitnessServer]:
    witness = LocalWitness(short / "witness", clock=FixedClock())
    witness.register_log(str(LOG))
    server = WitnessServer(witness, short / "witness.sock")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_socket_responses_follow_the_witness_protocol(server: WitnessServer):
    remote = RemoteWitness(own_server(server.path))
    assert remote.verifier_key() == server.witness.verifier_key()
    answer = remote.add_checkpoint(0, [], checkpoint(LEAVES[:7]))
    assert answer.status == 200
    assert server.witness.latest_checkpoint(LOG) == checkpoint(LEAVES[:7]) + answer.body
    assert remote.add_checkpoint(0, [], checkpoint(LEAVES[:9])) == (409, b"7\n")
    assert remote.add_checkpoint(7, [LEAVES[0]], checkpoint(LEAVES[:9])).status == 422
    assert remote.add_checkpoint(7, subproof(7, LEAVES[:9]), checkpoint(LEAVES[:9])).status == 200


class Line(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("witness", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(self._path))


def post(server: WitnessServer, body: bytes, path: str = "/add-checkpoint", **headers: str) -> tuple[int, str, bytes]:
    line = Line(server.path)
    line.request("POST", path, body, headers)
    answer = line.getresponse()
    matches = (answer.status, answer.headers["Content-Type"], answer.read())
    line.close()
    return matches


@pytest.mark.parametrize(
    "body",
    [b"", b"old 0\n", b"old 00\n\n", b"old -1\n\n", b"old x\n\n", b"new 0\n\n", b"old 0\nnot base64\n\n",
     b"old 0\nAAAA\n\n", b"\xff\n\n", b"old 0\n" + b"A" * 44 + b"\n\n",
     b"old 0\n" + (base64.b64encode(b"\0" * 32) + b"\n") * 64 + b"\n"],
)  # fmt: skip
def test_a_call_that_is_malformed_is_400(server: WitnessServer, body: bytes):
    assert post(server, body)[0] == 400
    assert post(server, body + checkpoint(LEAVES[:3]))[0] == 400


def test_it_speaks_the_types_of_the_specification(server: WitnessServer):
    assert post(server, b"old 0\n\n" + checkpoint(LEAVES[:3]))[0] == 200
    assert post(server, b"old 1\n\n" + checkpoint(LEAVES[:5])) == (409, "text/x.tlog.size", b"3\n")
    assert post(server, b"", path="/elsewhere")[0] == 404
    assert post(server, b"", **{"Content-Length": "999999999999"})[0] == 400


def test_the_sequencer_asks_it(server: WitnessServer, short: Path):
    remote = RemoteWitness(own_server(server.path))
    ledger = Ledger(short, witness=remote)
    ledger.write(3)
    assert ledger.sequencer.integrate().size == 3
    ledger.write(3)
    [copy] = (short / "witness" / "checkpoints").iterdir()
    copy.write_bytes(b"damaged")
    with pytest.raises(Unavailable, match="cannot use its own folder"):
        ledger.sequencer.integrate()


def test_a_witness_that_is_not_there_is_unavailable(short: Path):
    with pytest.raises(Unavailable, match="does not respond"):
        RemoteWitness(own_server(short / "nothing.sock"), timeout=1).verifier_key()


def test_a_socket_that_was_left_behind_is_replaced(short: Path):
    witness = LocalWitness(short / "witness", clock=FixedClock())
    (short / "witness.sock").touch()
    server = WitnessServer(witness, short / "witness.sock", mode=0o600)
    assert (short / "witness.sock").stat().st_mode & 0o777 == 0o600
    server.server_close()
    assert not (short / "witness.sock").exists()
