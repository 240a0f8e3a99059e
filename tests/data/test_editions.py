"""Editions: named by their own bytes, written once, pointed to last."""

from pathlib import Path

import pytest

from tests.steps import FixedClock
from wellspring.data import editions
from wellspring.data.editions import Editions
from wellspring.errors import Broken, NotFound
from wellspring.records.data import Edition, Snapshot
from wellspring_verify import canonical

HUGE = 2**63 - 25


def edition(parent: str | None = None, *, snapshot_id: int = HUGE) -> Edition:
    return editions.compose(
        level="landed",
        parent=parent,
        tables=[Snapshot(table="b", snapshot_id=1, rows=2), Snapshot(table="a", snapshot_id=snapshot_id, rows=7)],
        drops=["x", "y", "x"],
        tenant="acme",
        known_since=FixedClock().now(),
    )


def test_an_edition_is_named_by_the_hash_of_its_bytes():
    one = edition()
    assert one.id == editions.digest(one)[:12]
    assert one == edition()
    assert one.id != edition("another").id
    assert [each.table for each in one.tables] == ["a", "b"]
    assert one.drops == ("x", "y")


def test_its_bytes_are_canonical_and_keep_a_snapshots_number_whole(tmp_path: Path):
    one = edition()
    content = editions.encode(one)
    assert canonical.dumps(canonical.loads_strict(content)) == content
    assert b'"snapshot_id":"9223372036854775783"' in content
    Editions(tmp_path).keep(one)
    assert Editions(tmp_path).get(one.id) == one
    assert (tmp_path / f"{one.id}.json").read_bytes() == content


def test_the_facts_of_a_publish_make_the_edition_again():
    one = edition("parent")
    assert editions.from_facts("acme", editions.facts(one)) == one
    assert editions.from_facts("another", editions.facts(one)).id != one.id
    with pytest.raises(Broken):
        editions.from_facts("acme", {**editions.facts(one), "rows": {}})


def test_what_is_kept_is_not_yet_seen_and_what_is_pointed_to_is(tmp_path: Path):
    kept = Editions(tmp_path)
    first = edition()
    kept.keep(first)
    assert (kept.newest(), list(kept.history())) == (None, [])
    kept.point(first)
    second = edition(first.id)
    kept.keep(second)
    assert kept.newest() == first
    kept.point(second)
    assert (kept.newest(), list(kept.history())) == (second, [second, first])
    assert kept.newest("built") is None


def test_an_edition_whose_bytes_were_changed_is_never_answered(tmp_path: Path):
    one = edition()
    Editions(tmp_path).keep(one)
    path = tmp_path / f"{one.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"rows":7', b'"rows":8'))
    with pytest.raises(Broken, match="no longer hashes"):
        Editions(tmp_path).get(one.id)


def test_an_unknown_edition_is_told_with_the_nearest(tmp_path: Path):
    one = edition()
    Editions(tmp_path).keep(one)
    with pytest.raises(NotFound) as near:
        Editions(tmp_path).get(one.id[:-2])
    assert one.id in near.value.fix
    with pytest.raises(NotFound):
        Editions(tmp_path).get("../../etc/passwd")
