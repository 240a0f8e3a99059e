"""An original decrypts to the same content, or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from tests.builders.memory_keys import Keyring
from tests.builders.originals import NOON, contract
from wellspring.data.intake import originals
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.records.ingestion import Drop

HEAD = len(b"wellspring-original-1\n") + 7
STEP = originals.CHUNK_SIZE + 16


def read_whole(drop: Drop, wrapped_key: str, *, keys: Keyring, folder: Path) -> bytes:
    with originals.open_original(drop, wrapped_key, keys=keys, folder=folder) as content:
        return content.readall()


def landed(folder: Path, keys: Keyring, content: bytes, name: str = "medical_claim_1.csv") -> originals.StoredOriginal:
    return originals.store_original(
        io.BytesIO(content),
        source="clearinghouse",
        name=name,
        contract=contract(),
        keys=keys,
        folder=folder,
        received=NOON,
    )


@pytest.mark.parametrize(
    "size", [0, 1, originals.CHUNK_SIZE - 1, originals.CHUNK_SIZE, originals.CHUNK_SIZE + 1, 3 * originals.CHUNK_SIZE]
)
def test_original_decrypts_to_the_same_content(tmp_path: Path, size: int) -> None:
    content, keys = os.urandom(size), Keyring()
    original = landed(tmp_path, keys, content)
    assert read_whole(original.drop, original.wrapped_key, keys=keys, folder=tmp_path) == content
    assert originals.list_originals(tmp_path) == (original.drop.id,)
    assert original.drop.size == size
    assert (original.retention_until - NOON).days == 7


def test_original_is_encrypted_and_private(tmp_path: Path) -> None:
    content = b"Fausto Testperson,900-12-3456\n" * 1000
    original = landed(tmp_path / "originals", Keyring(), content)
    path = tmp_path / "originals" / original.drop.id
    assert b"Testperson" not in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_same_bytes_under_the_same_name_are_the_same_drop(tmp_path: Path) -> None:
    keys = Keyring()
    first, again = (landed(tmp_path, keys, b"x\n1\n") for _ in range(2))
    assert first.drop == again.drop
    assert first.digest != again.digest, "each landing has a key of its own"
    assert landed(tmp_path, keys, b"x\n1\n", name="other.csv").drop.id != first.drop.id
    assert landed(tmp_path, keys, b"x\n2\n").drop.id != first.drop.id


class UnreadableFile:
    """A file of two chunks that cannot be read to its end."""

    def __init__(self) -> None:
        self.chunks = [b"x" * originals.CHUNK_SIZE] * 2

    def read(self, size: int) -> bytes:
        if not self.chunks:
            raise Refused("it changed", fix="again")
        return self.chunks.pop()[:size]


def test_a_file_that_fails_while_it_is_read_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="it changed"):
        originals.store_original(
            UnreadableFile(), source="s", name="a", contract=contract(), keys=Keyring(), folder=tmp_path, received=NOON
        )
    assert originals.list_originals(tmp_path) == ()


class ShortReads(io.BytesIO):
    """Returns at most 1,000 bytes at a time, as a network does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 1000))


def test_short_reads_give_the_same_original(tmp_path: Path) -> None:
    content, keys = os.urandom(originals.CHUNK_SIZE + 5), Keyring()
    original = originals.store_original(
        ShortReads(content), source="s", name="a", contract=contract(), keys=keys, folder=tmp_path, received=NOON
    )
    assert read_whole(original.drop, original.wrapped_key, keys=keys, folder=tmp_path) == content
    assert original.drop.size == len(content)


class EndlessZeros:
    """A file of zeros of a given size, which is never whole in memory."""

    def __init__(self, size: int) -> None:
        self.remaining = size

    def read(self, size: int) -> bytes:
        block = bytes(min(size, self.remaining))
        self.remaining -= len(block)
        return block


def test_storing_a_large_file_takes_memory_for_a_few_chunks(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        originals.store_original(
            EndlessZeros(64 << 20), source="s", name="a", contract=contract(), keys=Keyring(), folder=tmp_path,
            received=NOON,
        )  # fmt: skip
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * originals.CHUNK_SIZE


CHANGES = {
    "tail cut within a chunk": lambda b: b[:-5],
    "tail cut at a chunk": lambda b: b[: HEAD + 2 * STEP],
    "only the head": lambda b: b[:HEAD],
    "empty": lambda b: b"",
    "first chunk left out": lambda b: b[:HEAD] + b[HEAD + STEP :],
    "two chunks swapped": lambda b: b[:HEAD] + b[HEAD + STEP :][:STEP] + b[HEAD:][:STEP] + b[HEAD + 2 * STEP :],
    "a chunk repeated": lambda b: b[: HEAD + STEP] + b[HEAD:],
    "bytes added": lambda b: b + b"\0",
    "a chunk added": lambda b: b + b[HEAD : HEAD + STEP],
    "a bit of the content": lambda b: b[: HEAD + 9] + bytes([b[HEAD + 9] ^ 1]) + b[HEAD + 10 :],
    "a bit of a tag": lambda b: b[:-1] + bytes([b[-1] ^ 128]),
    "a bit of the random part": lambda b: b[: HEAD - 1] + bytes([b[HEAD - 1] ^ 1]) + b[HEAD:],
    "a bit of the magic": lambda b: bytes([b[0] ^ 1]) + b[1:],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_original_is_refused(tmp_path: Path, change: str) -> None:
    keys = Keyring()
    original = landed(tmp_path, keys, os.urandom(2 * originals.CHUNK_SIZE + 100))
    path = tmp_path / original.drop.id
    path.write_bytes(CHANGES[change](path.read_bytes()))
    with pytest.raises(CorruptedError):
        read_whole(original.drop, original.wrapped_key, keys=keys, folder=tmp_path)


def test_truncated_original_is_refused(tmp_path: Path) -> None:
    """A file cut at the end of a chunk has only valid chunks; only the last flag shows the truncation."""
    content, keys = os.urandom(2 * originals.CHUNK_SIZE), Keyring()
    original = landed(tmp_path, keys, content)
    path = tmp_path / original.drop.id
    path.write_bytes(path.read_bytes()[: HEAD + STEP])
    first_chunk = content[: originals.CHUNK_SIZE]
    cut = original.drop.model_copy(update={"size": len(first_chunk), "digest": hashlib.sha256(first_chunk).hexdigest()})
    with pytest.raises(CorruptedError):
        read_whole(cut, original.wrapped_key, keys=keys, folder=tmp_path)


def test_reordered_chunks_are_refused(tmp_path: Path) -> None:
    """Two swapped chunks are each valid alone."""
    item, two, three = (os.urandom(originals.CHUNK_SIZE) for _ in range(3))
    keys = Keyring()
    original = landed(tmp_path, keys, item + two + three)
    path = tmp_path / original.drop.id
    path.write_bytes(CHANGES["two chunks swapped"](path.read_bytes()))
    swapped = original.drop.model_copy(update={"digest": hashlib.sha256(two + item + three).hexdigest()})
    with pytest.raises(CorruptedError):
        read_whole(swapped, original.wrapped_key, keys=keys, folder=tmp_path)


def test_original_of_another_drop_is_refused(tmp_path: Path) -> None:
    keys = Keyring()
    first, second = landed(tmp_path, keys, b"x\n1\n"), landed(tmp_path, keys, b"x\n2\n")
    (tmp_path / first.drop.id).write_bytes((tmp_path / second.drop.id).read_bytes())
    for wrapped in (first.wrapped_key, second.wrapped_key):
        with pytest.raises(CorruptedError):
            read_whole(first.drop, wrapped, keys=keys, folder=tmp_path)


def test_a_removed_original_is_not_found(tmp_path: Path) -> None:
    keys = Keyring()
    original = landed(tmp_path, keys, b"x\n1\n")
    originals.remove_original(original.drop.id, folder=tmp_path)
    originals.remove_original(original.drop.id, folder=tmp_path)
    with pytest.raises(NotFound):
        read_whole(original.drop, original.wrapped_key, keys=keys, folder=tmp_path)


def test_originals_need_the_key_server(tmp_path: Path) -> None:
    original = landed(tmp_path, Keyring(), b"x\n1\n")
    with pytest.raises(Refused):
        read_whole(original.drop, original.wrapped_key, keys=Keyring(), folder=tmp_path)


def test_sealed_row_opens_only_with_its_row_number() -> None:
    plain = os.urandom(32)
    sealed = originals.RowCipher(plain, "a").seal(b"row", 7)
    assert originals.RowCipher(plain, "a").open(sealed, 7) == b"row"
    for drop, place, content in (("a", 8, sealed), ("b", 7, sealed), ("a", 7, sealed[:-1]), ("a", 7, b"")):
        with pytest.raises(CorruptedError):
            originals.RowCipher(plain, drop).open(content, place)


def test_sealed_row_is_encrypted() -> None:
    sealed = [
        originals.RowCipher(os.urandom(32), "a").seal(b"Fausto Testperson,900-12-3456", place) for place in range(3)
    ]
    assert not any(part in item for item in sealed for part in (b"Testperson", b"900-12-3456"))
    assert len(set(sealed)) == 3
