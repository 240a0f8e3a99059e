"""Built editions: nothing unread back is published, readers see all of one or nothing, and no crash leaves a half."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import lakes
from tests.builders.built_editions import built, composed, landed, rows
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.errors import CorruptedError, NotFound
from wellspring.lake import editions
from wellspring.lake.built_tables import audited_rows, leaked_columns
from wellspring.lake.iceberg.table import IcebergTable
from wellspring.lake.lake import Lake
from wellspring.records.lake import TableSnapshot

POINTS = ("built.publish:intent", "built.publish:committed", "built.publish:pointer-switched")


def test_a_built_edition_holds_the_landed_tables_and_those_that_were_built(lake: Lake, step: RecordingStep):
    base = landed(lake, step)
    edition = built(lake, base, step)
    assert lake.get_edition(level="built") == edition
    assert lake.get_edition() == base
    assert [table.table for table in edition.tables] == ["features", "labels", "medical_claim"]
    assert lake.read_table(edition, "features").equals(rows())
    assert lake.read_table(edition, "labels", ["share"])["share"].to_pylist() == [0.5] * 3
    assert lake.read_table(edition, "medical_claim").num_rows == 3
    assert all(len(lakes.stored_files(lake.open_table(edition, name))) == 1 for name in ("features", "medical_claim"))
    with pytest.raises(NotFound, match="no table 'features'"):
        lake.read_table(base, "features")


def test_two_builds_share_no_row_and_each_edition_keeps_its_own(lake: Lake, step: RecordingStep, clock: FixedClock):
    base = landed(lake, step)
    item = built(lake, base, step)
    clock.pass_(days=1)
    two = built(lake, base, step, rows(5))
    assert lake.read_table(item, "features").num_rows == 3
    assert lake.read_table(two, "features").num_rows == 5
    assert lake.list_editions("built") == (two, item)
    assert lake.list_editions() == (base,)
    assert not set(lakes.stored_files(lake.open_table(item, "features"))) & set(
        lakes.stored_files(lake.open_table(two, "features"))
    )


def test_a_table_takes_on_any_schema_and_older_editions_keep_theirs(lake: Lake, step: RecordingStep, clock: FixedClock):
    base = landed(lake, step)
    item = built(lake, base, step)
    clock.pass_(days=1)
    changed = pa.table({"claim_id": ["claim_k1_a"], "share": ["often"], "more": [1]})
    two = built(lake, base, step, changed)
    assert lake.read_table(item, "features").equals(rows())
    assert lake.read_table(two, "features").select(changed.column_names).equals(changed)


def test_what_a_snapshot_remembers_of_its_build(lake: Lake, step: RecordingStep):
    edition = built(lake, landed(lake, step), step)
    marks = lake.built_tables.snapshot_properties(edition)
    assert set(marks) == {"features", "labels"}
    assert (marks["features"]["code"], marks["features"]["rows"]) == ("c", "3")


def test_the_publish_names_the_edition_and_each_snapshot_by_digest(lake: Lake, step: RecordingStep):
    edition = built(lake, landed(lake, step), step)
    publish = step.done("publish")[-1]
    assert publish.subject == edition.subject
    assert publish.intent is not None
    assert publish.outputs[0].digest == editions.edition_digest(edition)
    assert [ref.name.partition("@")[0] for ref in publish.outputs[1:]] == ["snapshot:features", "snapshot:labels"]
    assert all(ref.digest for ref in publish.outputs)
    assert editions.edition_from_facts("acme", publish.facts) == edition


def test_leaks_are_read_back_from_the_ledger(lake: Lake, step: RecordingStep):
    edition = built(lake, landed(lake, step), step)
    assert leaked_columns(step.done("publish")[-1].facts, edition) == ("features.share",)
    with pytest.raises(CorruptedError, match="has no fact"):
        leaked_columns({}, edition)


def test_how_many_rows_were_audited_is_read_back_from_the_ledger(lake: Lake, step: RecordingStep):
    edition = built(lake, landed(lake, step), step)
    assert audited_rows(step.done("publish")[-1].facts, edition) == {"features": 3}
    assert audited_rows({"leaks": []}, edition) == {}


def test_rows_read_back_otherwise_are_never_published(lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch):
    base = landed(lake, step)
    added = IcebergTable.rows_added_by

    def changed(self: IcebergTable, snapshot_id: int) -> pa.RecordBatchReader:
        return added(self, snapshot_id).read_all().set_column(1, "share", [[0.5, 0.5, 0.25]]).to_reader()

    monkeypatch.setattr(IcebergTable, "rows_added_by", changed)
    with pytest.raises(CorruptedError, match="read back"):
        built(lake, base, step)
    assert lake.get_edition(level="built") is None


@pytest.mark.parametrize("point", POINTS)
def test_after_a_crash_readers_see_the_old_edition_whole_or_the_new_one(
    tmp_path: Path, lake: Lake, clock: FixedClock, point: str
):
    step = RecordingStep(clock=clock)
    base = landed(lake, step)
    old = built(lake, base, step)
    clock.pass_(days=1)
    step.die_at, step.nth = point, step.points.count(point) + 1
    with pytest.raises(Died):
        built(lake, base, step, rows(7))
    lake.close()
    after = lakes.open_lake(tmp_path, clock=clock)
    observed = after.get_edition(level="built")
    assert observed is not None
    assert after.read_table(observed, "features").num_rows == after.read_table(observed, "labels").num_rows
    assert (observed == old) is (point != POINTS[-1])
    (finished,) = after.recover(step.open_intents(), step=step)
    assert after.get_edition(level="built") == finished
    assert after.read_table(finished, "features").num_rows == after.read_table(finished, "labels").num_rows == 7
    assert after.read_table(old, "features").num_rows == 3
    assert step.done("publish")[-1].facts["recovered"] is True
    assert leaked_columns(step.done("publish")[-1].facts, finished) == ("features.share",)
    assert after.recover(step.open_intents(), step=step) == ()
    after.close()


def test_a_crash_before_the_intent_leaves_nothing_that_a_reader_sees(lake: Lake, step: RecordingStep):
    base = landed(lake, step)
    lake.built_tables.write_table("features", rows(9), ["claim_id"], {})
    assert lake.get_edition(level="built") is None
    edition = built(lake, base, step)
    assert lake.read_table(edition, "features").num_rows == 3
    later = datetime.now(UTC) + timedelta(days=1)
    assert lake.remove_orphan_files(older_than=later, step=step) > 0
    assert lake.read_table(edition, "features").equals(rows())


def test_what_an_edition_names_is_never_swept(lake: Lake, step: RecordingStep, clock: FixedClock):
    base = landed(lake, step)
    item = built(lake, base, step)
    clock.pass_(days=1)
    built(lake, base, step, rows(5))
    lake.remove_orphan_files(older_than=datetime.now(UTC) + timedelta(days=1), step=step)
    assert lake.read_table(item, "labels").equals(rows())


def test_an_edition_of_other_landed_tables_than_its_parents_is_refused(lake: Lake, step: RecordingStep):
    item = landed(lake, step)
    two = landed(lake, step, "bb")
    snapshot, _ = lake.built_tables.write_table("features", rows(), ["claim_id"], {})
    mixed = composed(lake, two, snapshot).model_copy(update={"tables": (*item.tables, snapshot)})
    with pytest.raises(CorruptedError, match="does not hold the tables of the landed edition"):
        lake.built_tables.apply_publish(mixed, step)
    assert lake.get_edition(level="built") is None


def test_a_publish_that_a_later_one_went_ahead_of_is_never_carried_out(
    lake: Lake, step: RecordingStep, clock: FixedClock
):
    base = landed(lake, step)
    snapshot, _ = lake.built_tables.write_table("features", rows(), ["claim_id"], {})
    early = composed(lake, base, snapshot)
    clock.pass_(hours=1)
    late = built(lake, base, step)
    with pytest.raises(CorruptedError, match=f"was built before {late.id}"):
        lake.built_tables.apply_publish(early, step)
    assert lake.get_edition(level="built") == late


def test_a_snapshot_that_is_gone_is_never_published(lake: Lake, step: RecordingStep):
    base = landed(lake, step)
    lake.built_tables.write_table("features", rows(), ["claim_id"], {})
    edition = composed(lake, base, TableSnapshot(table="features", snapshot_id=7, rows=3))
    with pytest.raises(CorruptedError, match="snapshot 7 of"):
        lake.built_tables.apply_publish(edition, step)
    assert lake.get_edition(level="built") is None


def test_an_edited_file_of_a_built_table_is_refused(lake: Lake, step: RecordingStep):
    edition = built(lake, landed(lake, step), step)
    (path,) = lakes.stored_files(lake.open_table(edition, "features"))
    Path(path).write_bytes(Path(path).read_bytes() + b"\0")
    with pytest.raises(CorruptedError, match=f"table features of edition {edition.id}"):
        lake.read_table(edition, "features")
    assert lake.read_table(edition, "labels").num_rows == 3
