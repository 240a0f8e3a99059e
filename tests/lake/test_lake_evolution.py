"""A contract gains a column and widens a decimal: rows of both versions land in one table and are read together."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tests.builders import drops
from tests.builders.recording_step import RecordingStep
from wellspring.data.contracts.contract import egress_schema
from wellspring.data.intake.known_rows import KnownRows, summarize_known_rows
from wellspring.errors import Refused
from wellspring.lake.lake import Lake
from wellspring.query.registry import open_query_engine
from wellspring.records.contracts import ContractColumn
from wellspring.records.lake import Edition
from wellspring.records.tables import ParquetTable

OLD = drops.contract()
_WIDER = tuple(
    column.model_copy(update={"type": "decimal128(14, 2)"}) if column.name == "paid" else column
    for column in OLD.columns
)
PLACE = ContractColumn(name="place", type="string", egress="plain", classification="operational")
NEW = drops.contract(columns=(*_WIDER, PLACE), version="1.1.0", digest="1" * 64)
SOURCE = "clearinghouse"


def new_rows(count: int, *, first: int = 0) -> pa.Table:
    """Make rows of the new version: the first of them with an amount that only its type can hold."""
    rows = drops.rows(count, first=first)
    paid = pa.array([Decimal("987654321098.76"), *range(1, count)], pa.decimal128(14, 2))
    places = pa.array([f"place {number}" for number in range(count)])
    return rows.set_column(1, "paid", paid).append_column("place", places).select(egress_schema(NEW).names)


def read(lake: Lake, edition: Edition | None) -> dict[str, list[object]]:
    """Read the claims, amounts and, if it has the column, places of an edition."""
    assert edition is not None
    rows = lake.read_table(edition, "medical_claim").sort_by("claim_id")
    names = [name for name in ("claim_id", "paid", "place") if name in rows.column_names]
    return {name: rows[name].to_pylist() for name in names}


@pytest.fixture
def published(lake: Lake, step: RecordingStep) -> Edition:
    """Publish an edition of the old version, then evolve the table."""
    staged = lake.stage_part(drops.intake("a", OLD, drops.rows(2, first=10)), OLD, step=step)
    edition = lake.publish(SOURCE, [staged], step=step)
    lake.adapt_table(NEW.name, egress_schema(NEW))
    return edition


def test_rows_of_both_versions_are_read_together_and_the_old_edition_as_before(
    lake: Lake, step: RecordingStep, published: Edition
):
    before = read(lake, published)
    assert "place" not in before
    staged = lake.stage_part(drops.intake("b", NEW, new_rows(2, first=20)), NEW, step=step)
    edition = lake.publish(SOURCE, [staged], step=step)
    read_together = read(lake, edition)
    assert read_together["place"] == [None, None, "place 0", "place 1"]
    assert read_together["paid"] == [*before["paid"], Decimal("987654321098.76"), Decimal("1.00")]
    assert read(lake, published) == before


def test_a_part_of_the_old_version_lands_in_the_evolved_table(lake: Lake, step: RecordingStep, published: Edition):
    # A crash came between its admission by the old version and its staging.
    admission = drops.intake("late", OLD, drops.rows(2, first=30))
    new = lake.stage_part(drops.intake("b", NEW, new_rows(1, first=20)), NEW, step=step)
    late = lake.stage_part(admission, OLD, step=step)
    assert late.rows_digest == admission.counts.rows_digest
    assert late.contract_version == "1.0.0"
    edition = lake.publish(SOURCE, [new, late], step=step)
    assert read(lake, edition)["place"] == [None, None, "place 0", None, None]
    assert lake.count_drop_rows(late.drop) == (2, 0)


def test_staged_parts_of_both_versions_are_written_again_with_equal_rows(
    lake: Lake, step: RecordingStep, published: Edition
):
    first, old = (
        lake.stage_part(drops.intake(name, OLD, drops.rows(2, first=place)), OLD, step=step)
        for name, place in (("c", 40), ("d", 50))
    )
    new = lake.stage_part(drops.intake("b", NEW, new_rows(1, first=60)), NEW, step=step)
    lake.discard_parts(first, step=step)
    waiting = lake.staged_parts()
    assert [(part.drop, part.rows_digest) for part in waiting] == [
        (old.drop, old.rows_digest),
        (new.drop, new.rows_digest),
    ]
    lake.publish(SOURCE, waiting, step=step)


def test_a_row_of_the_old_version_is_a_copy_if_its_new_columns_are_empty(
    lake: Lake, step: RecordingStep, published: Edition, tmp_path: Path
):
    repeated = drops.rows(2, first=10).append_column("place", pa.array([None, "here"], pa.string()))
    repeated = repeated.select(egress_schema(NEW).names).cast(egress_schema(NEW))
    keys = repeated.select(["claim_id"]).to_reader()
    engine = open_query_engine("duckdb", {})
    rows = lake.find_rows_by_key(NEW, keys, engine=engine, scratch=tmp_path)
    fates = KnownRows(NEW, summarize_known_rows(NEW, rows)).classify_rows(repeated)
    assert [copy is not None for copy in fates.copy_of] == [True, False]
    assert fates.contradicts.to_list() == [False, True]


def test_an_engine_reads_the_files_of_both_versions_as_one_table(lake: Lake, step: RecordingStep, published: Edition):
    staged = lake.stage_part(drops.intake("b", NEW, new_rows(2, first=20)), NEW, step=step)
    table = lake.open_table(lake.publish(SOURCE, [staged], step=step), "medical_claim")
    assert isinstance(table, ParquetTable)
    rows = table.read_rows()
    with duckdb.connect() as engine:
        engine.register("claims", rows)
        assert engine.execute("select count(place), max(paid) from claims").fetchall() == [
            (2, Decimal("987654321098.76"))
        ]


def test_a_table_with_rows_takes_no_other_type(lake: Lake, published: Edition):
    schema = egress_schema(NEW)
    scaled = schema.set(schema.get_field_index("paid"), pa.field("paid", pa.decimal128(14, 4)))
    with pytest.raises(Refused, match="is decimal128"):
        lake.adapt_table(NEW.name, scaled)
    assert published.tables
