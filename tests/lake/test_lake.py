"""The lake: nothing waits unaudited, editions switch whole, and no crash loses or doubles a row."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import drops, lakes
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.lake.file_pins import FilePins
from wellspring.lake.lake import Lake
from wellspring.records.lake import Edition
from wellspring.records.verdict import Verdict

CLAIMS = drops.contract()
SPANS = drops.contract("eligibility")
SOURCE = "clearinghouse"


def again(lake: Lake, folder: Path) -> Lake:
    """Open the lake as the next process would."""
    lake.close()
    return lakes.open_lake(folder, clock=lake.clock)


def claims(lake: Lake, edition: Edition | None) -> list[str]:
    """List the claims that an edition holds."""
    assert edition is not None
    return sorted(lake.read_table(edition, "medical_claim", ["claim_id"])["claim_id"].to_pylist())


def test_a_staged_drop_waits_unseen_and_a_published_one_is_read_by_its_edition(lake: Lake, step: RecordingStep):
    rows = drops.rows(5)
    staged = lake.stage_part(drops.intake("a", CLAIMS, rows), CLAIMS, step=step)
    assert (lake.get_edition(), lake.staged_parts(), lake.count_drop_rows(staged.drop)) == (None, (staged,), (0, 5))
    edition = lake.publish(SOURCE, lake.staged_parts(), step=step)
    assert (lake.get_edition(), lake.staged_parts(), lake.count_drop_rows(staged.drop)) == (edition, (), (5, 0))
    assert claims(lake, edition) == rows["claim_id"].to_pylist()
    assert lake.has_part(staged.drop, 0)
    assert not lake.has_part(staged.drop, 1)


def test_every_row_says_which_drop_it_came_with_and_since_when_it_is_known(lake: Lake, step: RecordingStep):
    staged = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    table = lake.read_table(lake.publish(SOURCE, [staged], step=step), "medical_claim")
    assert table["drop_id"].to_pylist() == [staged.drop] * 2
    assert table["replay_number"].to_pylist() == [0, 0]
    assert table["tenant"].to_pylist() == ["acme"] * 2
    assert table["known_since"].to_pylist() == [drops.LANDED] * 2


def test_what_stage_and_publish_record_names_rows_and_snapshots_by_digest(lake: Lake, step: RecordingStep):
    intake = drops.intake("a", CLAIMS, drops.rows(3))
    staged = lake.stage_part(intake, CLAIMS, step=step)
    edition = lake.publish(SOURCE, [staged], step=step)
    (stage,), (publish,) = step.done("stage"), step.done("publish")
    named = [(f"rows:{intake.drop.id}/0", intake.counts.rows_digest)]
    stored = (f"snapshot:medical_claim@{staged.snapshot_id}", intake.counts.rows_digest)
    assert (stage.subject, [(ref.name, ref.digest) for ref in stage.inputs]) == (intake.drop.subject, named)
    assert [(ref.name, ref.digest) for ref in stage.outputs] == [stored]
    assert (publish.subject, publish.intent) == (edition.subject, step.entries[1].id)
    assert [(ref.name, ref.digest) for ref in publish.inputs] == named
    assert publish.outputs[0].name == edition.subject
    assert (publish.outputs[0].digest or "").startswith(edition.id)
    assert [(ref.name, ref.digest) for ref in publish.outputs[1:]] == [stored]
    assert publish.facts["tables"] == {"medical_claim": str(staged.snapshot_id)}
    assert (publish.facts["rows"], publish.facts["added"]) == ({"medical_claim": 3}, {"medical_claim": 3})


def test_a_drop_staged_or_published_again_changes_nothing(lake: Lake, step: RecordingStep):
    intake = drops.intake("a", CLAIMS, drops.rows(4))
    first = lake.stage_part(intake, CLAIMS, step=step)
    assert lake.stage_part(intake, CLAIMS, step=step) == first
    edition = lake.publish(SOURCE, [first], step=step)
    written = len(step.entries)
    assert lake.stage_part(intake, CLAIMS, step=step) == first.model_copy(update={"published": True})
    assert lake.publish(SOURCE, [first], step=step) == edition
    assert len(step.entries) == written
    assert lake.count_drop_rows(first.drop) == (4, 0)


def test_the_same_part_with_other_rows_is_never_taken(lake: Lake, step: RecordingStep):
    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(4)), CLAIMS, step=step)
    with pytest.raises(CorruptedError, match="different rows"):
        lake.stage_part(drops.intake("a", CLAIMS, drops.rows(4, first=9)), CLAIMS, step=step)


def test_a_set_switches_as_one_edition_and_a_table_that_did_not_change_is_carried_over(lake: Lake, step: RecordingStep):
    for name, contract in (("a", CLAIMS), ("b", SPANS)):
        lake.stage_part(drops.intake(name, contract, drops.rows(3)), contract, step=step)
    both = lake.publish(SOURCE, lake.staged_parts(), step=step)
    lake.stage_part(drops.intake("c", CLAIMS, drops.rows(2, first=10)), CLAIMS, step=step)
    next_one = lake.publish(SOURCE, lake.staged_parts(), step=step)
    assert [(table.table, table.rows) for table in both.tables] == [("eligibility", 3), ("medical_claim", 3)]
    assert [(table.table, table.rows) for table in next_one.tables] == [("eligibility", 3), ("medical_claim", 5)]
    assert (next_one.parent, next_one.tables[0]) == (both.id, both.tables[0])
    assert lake.list_editions() == (next_one, both)
    assert len(claims(lake, both)) == 3
    assert lake.read_table(both, "eligibility").num_rows == 3


def test_an_edition_keeps_answering_the_same_rows_and_files(lake: Lake, step: RecordingStep, clock: FixedClock):
    first = lake.publish(
        SOURCE, [lake.stage_part(drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS, step=step)], step=step
    )
    files = lakes.stored_files(lake.open_table(first, "medical_claim"))
    clock.pass_(hours=3)
    lake.publish(SOURCE, [lake.stage_part(drops.intake("b", CLAIMS, drops.rows(2)), CLAIMS, step=step)], step=step)
    assert lake.get_edition(first.id) == first
    assert len(claims(lake, first)) == 3
    assert lakes.stored_files(lake.open_table(first, "medical_claim")) == files
    assert all(Path(file).is_file() for file in files)


def test_a_drop_without_an_admitted_row_is_published_too(lake: Lake, step: RecordingStep):
    staged = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(0)), CLAIMS, step=step)
    edition = lake.publish(SOURCE, [staged], step=step)
    assert (claims(lake, edition), lake.has_part(staged.drop, 0), lake.count_drop_rows(staged.drop)) == (
        [],
        True,
        (0, 0),
    )


def test_unknown_tables_and_columns_name_the_nearest(lake: Lake, step: RecordingStep):
    edition = lake.publish(
        SOURCE, [lake.stage_part(drops.intake("a", CLAIMS, drops.rows(1)), CLAIMS, step=step)], step=step
    )
    with pytest.raises(NotFound) as no_table:
        lake.read_table(edition, "medical_claims")
    with pytest.raises(NotFound) as no_column:
        lake.read_table(edition, "medical_claim", ["paid_"])
    with pytest.raises(NotFound) as no_edition:
        lake.get_edition(edition.id[:-1])
    assert "medical_claim" in no_table.value.fix
    assert "paid" in no_column.value.fix
    assert edition.id in no_edition.value.fix


# --- the audit --------------------------------------------------------------------------------------------------------


def test_rows_that_do_not_hash_to_what_the_enclave_said_never_wait(lake: Lake, step: RecordingStep):
    good = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    lying = drops.with_counts(drops.intake("b", CLAIMS, drops.rows(2, first=5)), rows_digest="0" * 64)
    with pytest.raises(CorruptedError, match="rows_digest"):
        lake.stage_part(lying, CLAIMS, step=step)
    assert lake.staged_parts() == (good,)
    assert not lake.has_part(lying.drop.id, 0)
    assert [entry.phase for entry in step.entries if entry.subject == lying.drop.subject] == ["failed"]


def test_what_the_audit_judges_is_what_the_disk_holds(lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch):
    from wellspring.lake.iceberg.table import IcebergTable

    write = IcebergTable.append_rows
    monkeypatch.setattr(
        IcebergTable,
        "append_rows",
        lambda self, rows, base, marks, pin: write(self, rows.read_all().slice(1).to_reader(), base, marks, pin),
    )
    with pytest.raises(CorruptedError, match="row_count"):
        lake.stage_part(drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS, step=step)
    assert lake.staged_parts() == ()


@pytest.mark.parametrize(
    ("code", "table", "contract"),
    [
        ("key", pa.concat_tables([drops.rows(2), drops.rows(1)]), CLAIMS),
        ("required", drops.rows(2).set_column(0, "claim_id", pa.array(["x", None], pa.string())), CLAIMS),
        ("undeclared", drops.rows(2).append_column("surprise", pa.array(["x", "y"])), CLAIMS),
        ("never_egress", drops.rows(2).append_column("member_name", pa.array(["x", "y"])), CLAIMS),
        ("missing_column", drops.rows(2).drop_columns(["paid"]), CLAIMS),
    ],
)
def test_the_contract_is_held_again_on_the_tokens(
    lake: Lake, step: RecordingStep, code: str, table: pa.Table, contract: drops.DataContract
):
    with pytest.raises(CorruptedError, match=code):
        lake.stage_part(drops.intake("a", contract, table), contract, step=step)
    assert lake.staged_parts() == ()


def test_a_stopped_drop_is_refused(lake: Lake, step: RecordingStep):
    stopped = Verdict(subject="drop:a", outcome="fail")
    with pytest.raises(Refused) as refused:
        lake.stage_part(
            drops.with_counts(drops.intake("a", CLAIMS, drops.rows(1)), verdict=stopped)._replace(rows=None),
            CLAIMS,
            step=step,
        )
    assert refused.value.verdict == stopped
    with pytest.raises(Refused, match="rejected as a whole"):
        lake.stage_part(drops.with_counts(drops.intake("a", CLAIMS, drops.rows(1)), verdict=stopped), CLAIMS, step=step)
    with pytest.raises(Refused, match="another contract"):
        lake.stage_part(
            drops.intake("a", CLAIMS, drops.rows(1)), CLAIMS.model_copy(update={"digest": "0" * 64}), step=step
        )


# --- the schema -------------------------------------------------------------------------------------------------------


def test_a_table_grows_by_a_column_and_older_rows_are_null_there(lake: Lake, step: RecordingStep):
    old = lake.publish(
        SOURCE, [lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)], step=step
    )
    wider = drops.contract(columns=(*CLAIMS.columns, CLAIMS.columns[1].model_copy(update={"name": "allowed"})))
    table = drops.rows(1, first=7).append_column("allowed", pa.array([1], pa.decimal128(12, 2)))
    new = lake.publish(SOURCE, [lake.stage_part(drops.intake("b", wider, table), wider, step=step)], step=step)
    assert lake.read_table(new, "medical_claim")["allowed"].null_count == 2
    assert "allowed" not in lake.read_table(old, "medical_claim").column_names


def test_a_column_never_changes_its_type(lake: Lake, step: RecordingStep):
    lake.adapt_table("medical_claim", pa.schema([("paid", pa.string())]))
    assert lake.index_parts().has_rows("medical_claim") is False
    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    with pytest.raises(Refused, match="column paid of medical_claim is decimal128") as refused:
        lake.adapt_table("medical_claim", pa.schema([("paid", pa.string())]))
    assert refused.value.verdict is not None
    assert [reason.code for reason in refused.value.verdict.reasons] == ["incompatible_schema"]
    second = drops.rows(2, first=7).set_column(1, "paid", pa.array(["1", "2"], pa.string()))
    with pytest.raises(Refused, match="column paid of medical_claim is decimal128"):
        lake.stage_part(drops.intake("b", CLAIMS, second), CLAIMS, step=step)
    assert len(lake.staged_parts()) == 1


# --- crashes ----------------------------------------------------------------------------------------------------------

STAGE = ["lake.stage:appended", "lake.stage:audited"]
PUBLISH = [
    "lake.publish:intent",
    "lake.publish:table-switched",
    "lake.publish:edition-written",
    "lake.publish:pointer-switched",
]


def everything(lake: Lake, step: RecordingStep) -> Edition:
    """Do what `receive` does: recover, stage what the lake does not know, publish what waits."""
    lake.recover(step.open_intents(), step=step)
    for name, contract, first in (("b", CLAIMS, 10), ("c", CLAIMS, 20), ("d", SPANS, 0)):
        intake = drops.intake(name, contract, drops.rows(4, first=first))
        if not lake.has_part(intake.drop.id, 0):
            lake.stage_part(intake, contract, step=step)
    if waiting := lake.staged_parts():
        return lake.publish(SOURCE, waiting, step=step)
    edition = lake.get_edition()
    assert edition is not None
    return edition


@pytest.mark.parametrize(
    ("point", "nth"),
    [(point, nth) for point in STAGE for nth in (1, 2, 3)] + [(PUBLISH[1], 2)] + [(p, 1) for p in PUBLISH],
)
def test_a_crash_anywhere_loses_no_row_and_doubles_none(
    lake: Lake, tmp_path: Path, clock: FixedClock, point: str, nth: int
):
    step = RecordingStep()
    lake.publish(SOURCE, [lake.stage_part(drops.intake("a", CLAIMS, drops.rows(4)), CLAIMS, step=step)], step=step)
    before = claims(lake, lake.get_edition())
    step.points.clear()
    step.die_at, step.nth = point, nth
    with pytest.raises(Died):
        everything(lake, step)
    step.die_at = None
    lake = again(lake, tmp_path)
    if point != "lake.publish:pointer-switched":
        assert claims(lake, lake.get_edition()) == before
    clock.pass_(minutes=1)
    edition = everything(lake, step)
    expected = [f"claim_k1_{number:026d}" for number in (*range(4), *range(10, 14), *range(20, 24))]
    assert claims(lake, edition) == expected
    assert lake.read_table(edition, "eligibility").num_rows == 4
    assert (lake.get_edition(), lake.staged_parts(), step.open_intents()) == (edition, (), [])
    # No edition without its entry, and no entry without its edition.
    assert [list_edition.subject for list_edition in lake.list_editions()] == [
        item.subject for item in reversed(step.done("publish"))
    ]
    # What is published has the entry of its staging.
    staged = {ref.name for item in step.done("stage") for ref in item.outputs}
    assert {ref.name for item in step.done("publish") for ref in item.outputs[1:]} <= staged
    lake.close()


def test_recovering_again_changes_nothing(lake: Lake, tmp_path: Path):
    step = RecordingStep(die_at="lake.publish:table-switched")
    with pytest.raises(Died):
        everything(lake, step)
    intents = step.open_intents()
    (edition,) = lake.recover(intents, step=step)
    lake.recover(intents, step=step)
    assert lake.list_editions() == (edition,)
    assert len(claims(lake, edition)) == 8


def test_a_publish_that_failed_half_way_is_simply_done_again(
    lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch
):
    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(4)), CLAIMS, step=step)
    with monkeypatch.context() as full:
        full.setattr(
            "wellspring.lake.editions.EditionStore.save_edition", lambda *_: (_ for _ in ()).throw(OSError("no space"))
        )
        with pytest.raises(OSError, match="no space"):
            lake.publish(SOURCE, lake.staged_parts(), step=step)
    assert (lake.get_edition(), len(lake.staged_parts()), step.open_intents()) == (None, 1, [])
    edition = lake.publish(SOURCE, lake.staged_parts(), step=step)
    assert len(claims(lake, edition)) == 4


def test_recovery_refuses_an_intent_whose_facts_were_changed(lake: Lake):
    step = RecordingStep(die_at="lake.publish:intent")
    with pytest.raises(Died):
        everything(lake, step)
    (intent,) = step.open_intents()
    changed = intent.entry.model_copy(update={"facts": {**intent.entry.facts, "drops": ["another"]}})
    with pytest.raises(CorruptedError, match="its facts describe"):
        lake.recover([intent.model_copy(update={"entry": changed})], step=step)
    assert lake.get_edition() is None


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_row_never_goes_without_those_that_it_stands_on(lake: Lake, step: RecordingStep):
    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(1)), CLAIMS, step=step)
    second = lake.stage_part(drops.intake("b", CLAIMS, drops.rows(1, first=5)), CLAIMS, step=step)
    with pytest.raises(Refused, match="follow staged rows"):
        lake.publish(SOURCE, [second], step=step)
    with pytest.raises(Refused, match="do not belong to"):
        lake.publish("another", [second], step=step)
    with pytest.raises(Refused, match="no staged part"):
        lake.publish(SOURCE, [], step=step)
    first = lake.publish(SOURCE, lake.staged_parts()[:1], step=step)
    assert lake.staged_parts() == (second,)
    assert claims(lake, first) != claims(lake, lake.publish(SOURCE, [second], step=step))


def test_waiting_rows_can_be_discarded_and_staged_again(lake: Lake, step: RecordingStep):
    first = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(1)), CLAIMS, step=step)
    second = lake.stage_part(drops.intake("b", CLAIMS, drops.rows(1, first=5)), CLAIMS, step=step)
    lake.discard_parts(second, step=step)
    assert lake.staged_parts() == (first,)
    lake.discard_parts(first, step=step)
    assert lake.staged_parts() == ()
    lake.stage_part(drops.intake("b", CLAIMS, drops.rows(1, first=5)), CLAIMS, step=step)
    assert len(claims(lake, lake.publish(SOURCE, lake.staged_parts(), step=step))) == 1


def test_rows_that_main_left_behind_are_forgotten_and_named(lake: Lake, step: RecordingStep, tmp_path: Path):
    lost = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    warehouse = lakes.open_catalog(tmp_path)
    table = warehouse.load_table("medical_claim")
    table.iceberg.append(table.iceberg.scan().to_arrow())
    with pytest.raises(Refused, match=lost.drop):
        lake.publish(SOURCE, [lost], step=step)
    assert not lake.has_part(lost.drop, 0)
    again_staged = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    assert len(claims(lake, lake.publish(SOURCE, [again_staged], step=step))) == 2
    warehouse.close()


def test_a_second_writer_is_unavailable(lake: Lake, step: RecordingStep, tmp_path: Path):
    from wellspring.errors import Unavailable

    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2)), CLAIMS, step=step)
    warehouse = lakes.open_catalog(tmp_path)
    old = warehouse.load_table("medical_claim")
    lake.discard_parts(*lake.staged_parts(), step=step)
    with pytest.raises(Unavailable, match="another writer"):
        old.drop_branch("staging")
    warehouse.close()


def test_replayed_rows_are_a_part_of_their_own(lake: Lake, step: RecordingStep):
    first = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(3)), CLAIMS, step=step)
    lake.publish(SOURCE, [first], step=step)
    replayed = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(2, first=50), part=1), CLAIMS, step=step)
    assert (replayed.drop, lake.count_drop_rows(first.drop)) == (first.drop, (3, 2))
    edition = lake.publish(SOURCE, [replayed], step=step)
    assert (len(claims(lake, edition)), lake.count_drop_rows(first.drop)) == (5, (5, 0))


@pytest.mark.parametrize("read", [Lake.read_table, Lake.open_table])
def test_an_edited_file_of_an_edition_is_refused_by_name(
    lake: Lake, step: RecordingStep, read: Callable[[Lake, Edition, str], object]
):
    lake.stage_part(drops.intake("a", CLAIMS, drops.rows(5)), CLAIMS, step=step)
    edition = lake.publish(SOURCE, lake.staged_parts(), step=step)
    read(lake, edition, "medical_claim")
    (path,) = lakes.stored_files(lake.open_table(edition, "medical_claim"))
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)
    with pytest.raises(CorruptedError) as caught:
        read(lake, edition, "medical_claim")
    assert path in caught.value.what
    assert edition.id in caught.value.what


def test_files_are_hashed_while_they_are_written(lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wellspring.lake.iceberg.data_files.hash_local_file", pytest.fail)
    staged = [
        lake.stage_part(drops.intake(name, CLAIMS, drops.rows(5, first=10 * number)), CLAIMS, step=step)
        for number, name in enumerate("ab")
    ]
    edition = lake.publish(SOURCE, staged, step=step)
    monkeypatch.undo()
    assert edition.tables[0].files
    assert (step.done("publish")[0].facts["files"], step.done("stage")[0].facts["files"]) == (
        {"medical_claim": edition.tables[0].files},
        staged[0].files,
    )
    assert len(claims(lake, edition)) == 10
    assert len(lakes.stored_files(lake.open_table(edition, "medical_claim"))) == 2


def test_a_part_without_pins_is_hashed_by_its_publish(lake: Lake, step: RecordingStep, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FilePins, "pin_snapshot", lambda self, files: {})
    staged = lake.stage_part(drops.intake("a", CLAIMS, drops.rows(5)), CLAIMS, step=step)
    assert staged.files == ""
    edition = lake.publish(SOURCE, [staged], step=step)
    (path,) = lakes.stored_files(lake.open_table(edition, "medical_claim"))
    Path(path).write_bytes(b"")
    with pytest.raises(CorruptedError, match="was changed"):
        claims(lake, edition)
