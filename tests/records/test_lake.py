"""Records of the lake: the subject of an edition has one spelling, and a snapshot id keeps its 63 bits in JSON."""

from datetime import UTC, datetime

from wellspring.records.lake import Edition, TableSnapshot

SNAPSHOT = TableSnapshot(table="orders", snapshot_id=2**62 + 1, rows=3)
EDITION = Edition(
    tenant="t", known_since=datetime(2026, 1, 2, tzinfo=UTC), id="0123456789ab", level="landed", parent=None,
    tables=(SNAPSHOT,), drops=(),
)  # fmt: skip


def test_the_subject_of_an_edition_has_one_spelling():
    assert EDITION.subject == "edition:0123456789ab"


def test_a_snapshot_id_is_text_in_json_because_a_json_number_has_53_bits():
    assert f'"{2**62 + 1}"' in SNAPSHOT.model_dump_json()
    assert Edition.model_validate_json(EDITION.model_dump_json()) == EDITION
