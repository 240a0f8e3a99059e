"""The search finds a planted person in each kind of file that wellspring may write, and no one in clean files."""

from __future__ import annotations

import base64
import bz2
import codecs
import datetime
import gzip
import io
import json
import lzma
import os
import random
import sqlite3
import string
import subprocess
import sys
import tarfile
import time
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from examples.health_plan import population
from tests.phi.people import FILLER, PEOPLE, ZQURO, line, parquet, table
from tests.phi.search import Hit, Person, search, search_bytes, search_processes


def text(person: Person) -> bytes:
    return line(person).encode()


def born(person: Person) -> datetime.date:
    return datetime.date.fromisoformat(person.birth_date)


def arrow(text: str, *, stream: bool = False, codec: str = "zstd") -> bytes:
    out, rows = io.BytesIO(), table(text)
    opener = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opener(out, rows.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(rows)
    return out.getvalue()


def feather(text: str) -> bytes:
    out = io.BytesIO()
    pa.feather.write_feather(table(text), out, compression="lz4")
    return out.getvalue()


def avro(text: str, codec: str) -> bytes:
    """Write an Avro file with one text column by hand, without the code of the reader."""

    def number(value: int) -> bytes:
        value, out = value << 1, bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def named(value: bytes) -> bytes:
        return number(len(value)) + value

    schema = b'{"type":"record","name":"r","fields":[{"name":"note","type":"string"}]}'
    rows = b"".join(named(row.encode()) for row in ["clean"] * 40 + [text])
    if codec == "deflate":
        block = zlib.compress(rows)[2:-4]
    elif codec == "snappy":
        block = pa.Codec("snappy").compress(rows, asbytes=True) + zlib.crc32(rows).to_bytes(4, "big")
    elif codec == "zstandard":
        block = pa.Codec("zstd").compress(rows, asbytes=True)
    else:
        block = rows
    mark = bytes(range(16))
    header = number(2) + named(b"avro.schema") + named(schema) + named(b"avro.codec") + named(codec.encode()) + b"\0"
    return b"Obj\x01" + header + mark + number(41) + named(block) + mark


def zipped(content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        archive.writestr("inner/notes.txt", FILLER + content)
    return out.getvalue()


def tarred(content: bytes, mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("inner/notes.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def database(*values: Any, gone: bool = False) -> bytes:
    """Make a database that holds the values, or one that held them and has freed their pages."""
    path = Path(os.environ["PYTEST_TMP"]) / f"{random.random()}.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA secure_delete = off")
    connection.execute('CREATE TABLE "odd ""name" (a, b, c)')
    connection.executemany('INSERT INTO "odd ""name" VALUES (?, ?, ?)', [("clean", 1, None)] * 300)
    connection.execute('INSERT INTO "odd ""name" VALUES (?, ?, ?)', (*values, *[None] * (3 - len(values))))
    connection.commit()
    if gone:
        connection.execute('DROP TABLE "odd ""name"')
        connection.commit()
    connection.close()
    return path.read_bytes()


def j(value: Any, **kwargs: Any) -> bytes:
    return json.dumps(value, **kwargs).encode()


def escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(letter):04x}" for letter in text).encode()


B64 = base64.b64encode
KINDS: dict[str, Callable[[Person], bytes]] = {
    "plain bytes": lambda p: FILLER + text(p),
    "other case": lambda p: p.name.upper().encode(),
    "name turned round": lambda p: f"{p.last.upper()},{p.first}".encode(),
    "last name alone": lambda p: f"Mr {p.last} called".encode(),
    "csv": lambda p: f"1,{p.member_id},x\n".encode(),
    "ssn bare": lambda p: p.ssn.replace("-", "").encode(),
    "ssn with spaces": lambda p: p.ssn.replace("-", " ").encode(),
    "ssn with dots": lambda p: p.ssn.replace("-", ".").encode(),
    "phone with brackets": lambda p: "+1 ({}) {}-{}".format(*p.phone.split("-")).encode(),
    "phone with dots": lambda p: p.phone.replace("-", ".").encode(),
    "phone bare": lambda p: f"call {p.phone.replace('-', '')} today".encode(),
    "mbi with dashes": lambda p: f"{p.mbi[:4]}-{p.mbi[4:7]}-{p.mbi[7:]}".lower().encode(),
    "mail": lambda p: f"<{p.email.upper()}>".encode(),
    "address": lambda p: p.address.upper().replace(" ", "\t ").encode(),
    "birth date, iso": lambda p: f"born {p.birth_date}.".encode(),
    "birth date, american": lambda p: born(p).strftime("born %m/%d/%Y.").encode(),
    "person id": lambda p: p.person_id.encode(),
    "binary around it": lambda p: os.urandom(5000) + text(p) + os.urandom(5000),
    "utf-16 le": lambda p: codecs.BOM_UTF16_LE + line(p).encode("utf-16-le"),
    "utf-16 be": lambda p: line(p).encode("utf-16-be"),
    "utf-16 at an odd place in binary": lambda p: b"\x01\x02\x03" * 33 + p.name.encode("utf-16-le") + b"\xff" * 50,
    "utf-16 with base64 inside": lambda p: B64(text(p)).decode().encode("utf-16-le"),
    "utf-32": lambda p: p.name.encode("utf-32"),
    "json": lambda p: j({"a": [{"b": p.name}]}),
    "json key": lambda p: j({p.name: 1}),
    "json with \\u escapes": lambda p: b'{"a": "' + escaped(p.name) + b'"}',
    "json inside json": lambda p: j({"line": j({"a": p.name}).decode().replace("o", "\\u006f")}),
    "json lines": lambda p: b'{"a": 1}\n{"b": "' + escaped(p.name) + b'"}\nnot json\n',
    "json with base64 of json": lambda p: j({"payload": B64(j({"who": p.name})).decode()}),
    "json with slashes escaped in base64": lambda p: (
        j({"payload": B64(b"\xff\xff\xff>?>?" + text(p)).decode()}).replace(b"/", b"\\/").replace(b"+", b"\\u002b")
    ),
    "python's repr": lambda p: repr("".join(chr(ord(c)) for c in p.name).encode("utf-16-be")).encode(),
    "base64": lambda p: B64(text(p)),
    "base64 one byte later": lambda p: B64(b"x" + text(p)),
    "base64 two bytes later": lambda p: B64(b"xy" + text(p)),
    "base64 glued to a path": lambda p: b"data/v1/" + B64(text(p)),
    "base64 glued to a letter": lambda p: b"a" + B64(text(p)),
    "base64 without padding": lambda p: B64(p.name.encode()).rstrip(b"="),
    "base64 for urls": lambda p: base64.urlsafe_b64encode(b"\xfb\xff\xfe" * 5 + text(p)),
    "base64 in lines": lambda p: base64.encodebytes(FILLER[:500] + text(p)),
    "base64 twice": lambda p: B64(B64(text(p))),
    "base64 of gzip": lambda p: B64(gzip.compress(text(p))),
    "base64 of parquet in json": lambda p: j({"p": B64(parquet(line(p))).decode()}),
    "hex": lambda p: text(p).hex().encode(),
    "hex in capitals, at an odd place": lambda p: b"A" + p.name.encode().hex().upper().encode(),
    "hex of utf-16": lambda p: p.name.encode("utf-16-le").hex().encode(),
    "percent": lambda p: b"GET /?q=" + urllib.parse.quote(line(p)).encode(),
    "percent, every letter": lambda p: "".join(f"%{byte:02X}" for byte in p.name.encode()).encode(),
    "percent twice": lambda p: urllib.parse.quote("".join(f"%{byte:02x}" for byte in p.name.encode())).encode(),
    "form": lambda p: urllib.parse.urlencode({"name": p.name}).encode(),
    "html entities": lambda p: "".join(f"&#{ord(letter)};" for letter in p.name).encode(),
    "gzip": lambda p: gzip.compress(FILLER + text(p)),
    "gzip, second member": lambda p: gzip.compress(FILLER) + gzip.compress(text(p)),
    "gzip, cut short": lambda p: gzip.compress(text(p) + random.Random(1).randbytes(9000))[:-3000],
    "gzip inside something": lambda p: FILLER + gzip.compress(text(p)) + FILLER,
    "gzip of gzip": lambda p: gzip.compress(gzip.compress(text(p))),
    "zlib": lambda p: zlib.compress(text(p)),
    "bzip2": lambda p: bz2.compress(text(p)),
    "xz": lambda p: lzma.compress(text(p)),
    "zstd": lambda p: pa.Codec("zstd").compress(FILLER + text(p), asbytes=True),
    "zstd inside something": lambda p: b"head" + pa.Codec("zstd").compress(text(p), asbytes=True) + b"tail" * 9,
    "lz4": lambda p: pa.Codec("lz4").compress(FILLER + text(p), asbytes=True),
    "zip": lambda p: zipped(text(p)),
    "zip, bzip2": lambda p: zipped(text(p), zipfile.ZIP_BZIP2),
    "zip in zip": lambda p: zipped(zipped(text(p))),
    "tar": lambda p: tarred(text(p), "w"),
    "tar.gz": lambda p: tarred(text(p)),
    "tar.gz of parquet": lambda p: tarred(parquet(line(p))),
    "parquet, zstd": lambda p: parquet(line(p)),
    "parquet, snappy": lambda p: parquet(line(p), codec="snappy"),
    "parquet, gzip": lambda p: parquet(line(p), codec="gzip"),
    "parquet, no dictionary": lambda p: parquet(line(p), dictionary=False),
    "parquet, nested": lambda p: parquet_of(pa.array([[{"a": None}], [{"a": p.name}]])),
    "parquet, number": lambda p: parquet_of(pa.array([5, int(p.ssn.replace("-", ""))])),
    "parquet, date": lambda p: parquet_of(pa.array([None, born(p)])),
    "parquet, binary": lambda p: parquet_of(pa.array([b"\0\1", text(p)])),
    "parquet, column name": lambda p: parquet_of(pa.array([1]), name=p.name),
    "parquet, metadata": lambda p: parquet_of(pa.array([1]), metadata={"note": p.name}),
    "parquet, base64 in a column": lambda p: parquet(B64(text(p)).decode()),
    "arrow file, zstd": lambda p: arrow(line(p)),
    "arrow stream, lz4": lambda p: arrow(line(p), stream=True, codec="lz4"),
    "feather": lambda p: feather(line(p)),
    "avro, deflate": lambda p: avro(line(p), "deflate"),
    "avro, snappy": lambda p: avro(line(p), "snappy"),
    "avro, zstandard": lambda p: avro(line(p), "zstandard"),
    "avro, null": lambda p: avro(line(p), "null"),
    "sqlite, text": lambda p: database(p.name),
    "sqlite, first and last name apart": lambda p: database(p.first, 5, p.last),
    "sqlite, number": lambda p: database(int(p.ssn.replace("-", ""))),
    "sqlite, long text over many pages": lambda p: database("x" * 4060 + p.name + "y" * 9000),
    "sqlite, blob of gzip": lambda p: database(gzip.compress(text(p))),
    "sqlite, blob of parquet": lambda p: database(1, parquet(line(p))),
    "sqlite, freed pages": lambda p: database(p.name, gone=True),
}


def parquet_of(column: pa.Array, *, name: str = "c", metadata: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    rows = pa.table({name: column})
    pq.write_table(rows.replace_schema_metadata(metadata) if metadata else rows, out, compression="zstd")
    return out.getvalue()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_planted_in_each_kind_is_found(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tree" / "deep" / "file.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(KINDS[kind](ZQURO))
    hits = search([tmp_path / "tree"], PEOPLE)
    assert {hit.person for hit in hits} == {1}, hits
    assert {hit.path for hit in hits} == {str(path)}


def test_a_write_ahead_log_is_searched_alone_and_with_its_database(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    connection = sqlite3.connect(tree / "a.db")
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (?)", ("x" * 4060 + ZQURO.name + "y" * 9000,))
    connection.commit()
    assert (tree / "a.db-wal").stat().st_size > 0
    hits = search([tree], PEOPLE)
    assert {Path(hit.path).name for hit in hits if hit.person == 1} >= {"a.db"}
    connection.execute("INSERT INTO t VALUES (?)", (ZQURO.name,))
    connection.commit()
    os.rename(tree / "a.db", tmp_path / "elsewhere.db")
    assert {Path(hit.path).name for hit in search([tree], PEOPLE)} == {"a.db-wal"}
    connection.close()


@pytest.mark.parametrize("field", [name for name, value in vars(ZQURO).items() if value])
def test_each_identifier_is_found_alone_and_named(field: str) -> None:
    hits = search_bytes("output", f"... {getattr(ZQURO, field)} ...".encode(), PEOPLE)
    assert field in {hit.what for hit in hits}
    assert {hit.person for hit in hits} == {1}


def test_the_planted_people_of_the_example_are_found(tmp_path: Path) -> None:
    people = [Person.of(item) for item in population.planted(5, seed=3)]
    pq.write_table(population.members(2000, seed=3, planted=5), tmp_path / "leak.parquet", compression="zstd")
    hits = search([tmp_path], people)
    assert {hit.person for hit in hits} == set(range(5))
    fields = {"first", "last", "ssn", "mbi", "phone", "email", "member_id", "person_id", "address"}
    assert {hit.what for hit in hits if hit.person == 4} >= fields


def test_a_file_name_is_searched(tmp_path: Path) -> None:
    (tmp_path / f"report of {ZQURO.name}.txt").write_bytes(b"nothing to see in here")
    assert {(hit.inside, hit.person) for hit in search([tmp_path], PEOPLE)} == {("name", 1)}


def test_a_clean_tree_yields_nobody(tmp_path: Path) -> None:
    """Files of every kind with a person that is not searched for, tokens, and random bytes."""
    draw = random.Random(7)
    unknown_user = Person(
        **{**{name: _garbled(value, draw) for name, value in vars(ZQURO).items()}, "birth_date": "1930-01-02"}
    )
    tree = tmp_path / "tree"
    tree.mkdir()
    for number, build in enumerate(KINDS.values()):
        (tree / f"{number}.bin").write_bytes(build(unknown_user))
    tokens = ("".join(draw.choices(string.ascii_lowercase, k=26)) for _ in range(20_000))
    (tree / "tokens.jsonl").write_text("\n".join(json.dumps({"t": f"member_k1_{token}"}) for token in tokens))
    (tree / "random").write_bytes(draw.randbytes(1_000_000))
    rows = population.claims(3000, seed=1, people=population.members(500, seed=1))
    pq.write_table(rows, tree / "claims.parquet", compression="zstd")
    assert search([tree], PEOPLE) == []


def test_long_runs_are_searched_in_a_time_that_grows_with_their_length() -> None:
    """A pattern that tries every start of a long run would take hours here."""
    long = b"\\n" + b"QUFB" * 20_000 + b" &#65; %41 " + b"41" * 20_000
    started = time.process_time()
    assert search_bytes("output", long + text(ZQURO), PEOPLE)
    assert time.process_time() - started < 25


def _garbled(text: str, draw: random.Random) -> str:
    letters = {True: string.ascii_lowercase, False: string.digits}
    return "".join(draw.choice(letters[c.isalpha()]) if c.isalnum() else c for c in text)


def test_what_is_left_out_is_not_searched_and_everything_else_is(tmp_path: Path) -> None:
    for name in ("enclave/originals", "lake", "ledger"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "f").write_bytes(text(ZQURO))
    (tmp_path / "link").symlink_to(tmp_path / "enclave")
    hits = search([tmp_path], PEOPLE, exclude=[tmp_path / "enclave", tmp_path / "ledger" / "f"])
    assert {hit.path for hit in hits} == {str(tmp_path / "lake" / "f")}


@pytest.mark.parametrize("broken", ["parquet", "zip", "avro", "sqlite"])
def test_a_container_that_does_not_open_is_named(broken: str, tmp_path: Path) -> None:
    content = {
        "parquet": lambda: parquet(line(ZQURO))[:-9],
        "zip": lambda: zipped(text(ZQURO))[:-9],
        "avro": lambda: avro(line(ZQURO), "deflate")[:-9],
        "sqlite": lambda: b"SQLite format 3\x00" + b"\x07" * 5000,
    }[broken]()
    (tmp_path / "f").write_bytes(content)
    assert Hit(str(tmp_path / "f"), "", -1, f"cannot be opened: {broken}") in search([tmp_path], PEOPLE)


def test_arguments_and_environments_of_processes_are_searched() -> None:
    wait = "import sys; print('up', flush=True); sys.stdin.read()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    result = subprocess.Popen([sys.executable, "-c", wait, ZQURO.name], **pipes)
    current = subprocess.Popen([sys.executable, "-c", wait], env={"WHO": B64(ZQURO.name.encode()).decode()}, **pipes)
    clean = subprocess.Popen([sys.executable, "-c", wait], env={}, **pipes)
    processes = [result, current, clean]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == b"up\n"
        hits = search_processes([process.pid for process in processes], PEOPLE)
        assert {(hit.path, hit.person) for hit in hits} == {
            (f"/proc/{result.pid}/cmdline", 1),
            (f"/proc/{current.pid}/environ", 1),
        }
    finally:
        for process in processes:
            process.communicate()
    assert search_processes([result.pid], PEOPLE) == []


def test_a_hit_never_holds_the_value(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(text(ZQURO))
    output = repr(search([tmp_path], PEOPLE)).lower()
    assert ZQURO.first.lower() not in output
    assert "5678" not in output


def test_a_needle_that_would_be_found_everywhere_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        search_bytes("output", b"anything", [Person(first="Ida")])
