"""Editions: named by their own bytes, written once, pointed to last."""

from pathlib import Path

import pytest

from tests.builders.recording_step import FixedClock
from wellspring.errors import CorruptedError, NotFound
from wellspring.lake import editions
from wellspring.lake.editions import EditionStore
from wellspring.records.lake import Edition, TableSnapshot
from wellspring_verify import canonical

HUGE = 2**63 - 25


def edition(parent: str | None = None, *, snapshot_id: int = HUGE) -> Edition:
    return editions.build_edition(
        level="landed",
        parent=parent,
        tables=[
            TableSnapshot(table="b", snapshot_id=1, rows=2),
            TableSnapshot(table="a", snapshot_id=snapshot_id, rows=7),
        ],
        drops=["x", "y", "x"],
        tenant="acme",
        known_since=FixedClock().now(),
    )


def test_an_edition_is_named_by_the_hash_of_its_bytes():
    item = edition()
    assert item.id == editions.edition_digest(item)[:12]
    assert item == edition()
    assert item.id != edition("another").id
    assert [table.table for table in item.tables] == ["a", "b"]
    assert item.drops == ("x", "y")


def test_its_bytes_are_canonical_and_keep_a_snapshots_number_whole(tmp_path: Path):
    item = edition()
    content = editions.encode_edition(item)
    assert canonical.dumps_canonical(canonical.loads_canonical(content)) == content
    assert b'"snapshot_id":"9223372036854775783"' in content
    EditionStore(tmp_path).save_edition(item)
    assert EditionStore(tmp_path).get_edition(item.id) == item
    assert (tmp_path / f"{item.id}.json").read_bytes() == content


def test_the_facts_of_a_publish_make_the_edition_again():
    item = edition("parent")
    assert editions.edition_from_facts("acme", editions.edition_facts(item)) == item
    assert editions.edition_from_facts("another", editions.edition_facts(item)).id != item.id
    with pytest.raises(CorruptedError):
        editions.edition_from_facts("acme", {**editions.edition_facts(item), "rows": {}})


def test_what_is_kept_is_not_yet_seen_and_what_is_pointed_to_is(tmp_path: Path):
    stored = EditionStore(tmp_path)
    first = edition()
    stored.save_edition(first)
    assert (stored.latest_edition(), list(stored.list_history())) == (None, [])
    stored.set_pointer(first)
    second = edition(first.id)
    stored.save_edition(second)
    assert stored.latest_edition() == first
    stored.set_pointer(second)
    assert (stored.latest_edition(), list(stored.list_history())) == (second, [second, first])
    assert stored.latest_edition("built") is None


def test_an_edition_whose_bytes_were_changed_is_never_answered(tmp_path: Path):
    item = edition()
    EditionStore(tmp_path).save_edition(item)
    path = tmp_path / f"{item.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"rows":7', b'"rows":8'))
    with pytest.raises(CorruptedError, match="does not match its id"):
        EditionStore(tmp_path).get_edition(item.id)


def test_an_unknown_edition_names_the_nearest(tmp_path: Path):
    item = edition()
    EditionStore(tmp_path).save_edition(item)
    with pytest.raises(NotFound) as near:
        EditionStore(tmp_path).get_edition(item.id[:-2])
    assert item.id in near.value.fix
    with pytest.raises(NotFound):
        EditionStore(tmp_path).get_edition("../../etc/passwd")
