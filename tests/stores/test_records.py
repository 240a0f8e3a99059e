"""A record is read back by its id, or not at all; a pointer names one record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.stores.records import RecordKind, RecordStore, hash_content


def encode(record: dict[str, int]) -> bytes:
    return json.dumps(record, sort_keys=True).encode()


def decode(_record_id: str, content: bytes) -> dict[str, int]:
    record = json.loads(content)
    if not isinstance(record, dict):
        raise ValueError
    return record


NUMBERS = RecordKind("number", encode, decode, missing_fix="see `wellspring status`", folder="numbers")
# Its id comes from one field, not from all bytes.
NAMED = RecordKind(
    "name",
    encode,
    decode,
    missing_fix="see `wellspring status`",
    digest=lambda record: hash_content(encode({"n": record["n"]})),
    id_digits=64,
    suffix=".txt",
)


def store(folder: Path, kind: RecordKind[dict[str, int]] = NUMBERS) -> RecordStore[dict[str, int]]:
    return RecordStore(DiskBlobStore(folder), kind)


def test_a_record_is_read_back_by_the_start_of_its_digest(tmp_path: Path):
    record_id = store(tmp_path).save({"n": 1})
    assert record_id == hash_content(encode({"n": 1}))[:12]
    assert store(tmp_path).get(record_id) == {"n": 1}
    assert (tmp_path / "numbers" / f"{record_id}.json").is_file()


def test_saving_the_same_record_again_changes_nothing(tmp_path: Path):
    assert store(tmp_path).save({"n": 1}) == store(tmp_path).save({"n": 1})
    assert len(store(tmp_path).list_ids()) == 1


def test_ids_are_listed_sorted_and_other_files_are_not_ids(tmp_path: Path):
    ids = [store(tmp_path).save({"n": n}) for n in range(5)]
    (tmp_path / "numbers" / "notes.txt").write_text("x")
    (tmp_path / "numbers" / "live").write_text("x")
    assert store(tmp_path).list_ids() == tuple(sorted(ids))
    assert store(tmp_path / "empty").list_ids() == ()


def test_an_unknown_id_suggests_the_nearest(tmp_path: Path):
    record_id = store(tmp_path).save({"n": 1})
    with pytest.raises(NotFound, match="no number") as near:
        store(tmp_path).get(record_id[:-2])
    assert near.value.fix == f"did you mean {record_id}?"
    with pytest.raises(NotFound) as far:
        store(tmp_path).get("zzz")
    assert far.value.fix == "see `wellspring status`"


@pytest.mark.parametrize(
    "record_id", ["../../etc/passwd", "", "/etc/passwd", "0123456789AB", "0" * 13, "0" * 5000, "\ud800"]
)
def test_a_text_that_is_not_an_id_names_no_file(tmp_path: Path, record_id: str):
    with pytest.raises(NotFound) as error:
        store(tmp_path).get(record_id)
    assert len(error.value.what) < 200


@pytest.mark.parametrize("kind", [NUMBERS, NAMED])
def test_a_changed_record_is_corrupted(tmp_path: Path, kind: RecordKind[dict[str, int]]):
    record_id = store(tmp_path, kind).save({"n": 1})
    path = tmp_path / kind.folder / f"{record_id}{kind.suffix}"
    path.write_bytes(encode({"n": 2}))
    with pytest.raises(CorruptedError, match="does not match its id") as error:
        store(tmp_path, kind).get(record_id)
    assert error.value.fix == "restore the file from a copy; do not retry"


def test_content_of_another_format_is_corrupted(tmp_path: Path):
    content = b"[1]"
    record_id = hash_content(content)[:12]
    DiskBlobStore(tmp_path).write_once(f"numbers/{record_id}.json", content)
    with pytest.raises(CorruptedError, match="has another format"):
        store(tmp_path).get(record_id)


def test_an_id_may_come_from_some_fields_only(tmp_path: Path):
    record_id = store(tmp_path, NAMED).save({"n": 1, "other": 5})
    assert store(tmp_path, NAMED).get(record_id) == {"n": 1, "other": 5}
    # The first record of an id stays.
    with pytest.raises(CorruptedError, match="other bytes"):
        store(tmp_path, NAMED).save({"n": 1, "other": 6})


def test_a_pointer_names_one_record_and_is_replaced(tmp_path: Path):
    numbers = store(tmp_path)
    assert numbers.read_pointer("live") is None
    for n in (1, 2):
        record_id = numbers.save({"n": n})
        numbers.set_pointer("live", record_id)
        assert numbers.read_pointer("live") == record_id
