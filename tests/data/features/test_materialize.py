"""From a built edition to online rows: without a server where that will do, and on a real Valkey for 20,000 keys."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import prediction_story
from tests.builders.entry_index import Index
from tests.builders.feature_views import HISTORY, edition, instant, rows, token, view, views
from tests.builders.leases import ScriptedFence
from tests.builders.ledger import JournalStep, Ledger
from tests.builders.recording_step import Died, RecordingStep
from tests.builders.valkey import Valkey, running
from wellspring.compliance.evidence import collect_story
from wellspring.data.features import point_in_time
from wellspring.data.features.materialize import (
    complete_unfinished,
    expected_row,
    knowledge_cutoff,
    materialize_views,
    rows_equal,
    unfinished_materializations,
)
from wellspring.errors import CorruptedError, ProjectError, Refused, Unavailable
from wellspring.lake import editions, table_hash
from wellspring.lake.lake import Lake
from wellspring.models.releases import promotion
from wellspring.query.registry import open_query_engine
from wellspring.records.features import FeatureRow, FeatureViewSpec
from wellspring.records.lake import Edition
from wellspring.records.tables import ParquetTable, TableInput
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.stores.online.port import LiveMarker, OnlineWriter, WriteResult
from wellspring_verify import chain

MEMBERS = view()
ENGINE = open_query_engine("duckdb", {})
EARLY, LATE = edition("a" * 12, published=5), edition("b" * 12, published=9)


class HeldTables:
    """What materialize asks of a lake: the tables of an edition, as files or not, and the edition it was built from."""

    def __init__(self, tables: dict[str, pa.Table], folder: Path | None = None) -> None:
        self.tables = tables
        self.folder = folder
        self.landed: Edition | None = None

    def open_table(self, of: Edition, name: str) -> TableInput:
        if self.folder is None:
            return self.tables[name]
        path = self.folder / f"{name}.parquet"
        pq.write_table(self.tables[name], path)
        return ParquetTable(name, (str(path),), self.tables[name].schema)

    def get_edition(self, name: str) -> Edition | None:
        return self.landed


class Memory:
    """An online store without a server: the newest knowledge of each thing."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, tuple[str, ...]], FeatureRow] = {}
        self.live: LiveMarker | None = None
        self.lies = False
        self.between: Callable[[FeatureRow], None] = lambda row: None

    def write_rows(
        self, of: FeatureViewSpec, table: pa.Table, named: Edition, *, warm: Sequence[FeatureViewSpec] = ()
    ) -> WriteResult:
        written = 0
        for row in table.to_pylist():
            result = expected_row(of, row, named.id)
            current = self.rows.get((of.name, result.key))
            if current is None or (current.known_since, current.sequence) <= (result.known_since, result.sequence):
                self.rows[of.name, result.key] = result
                written += 1
                self.between(result)
        return WriteResult(written, table.num_rows - written)

    def read_rows(self, of: FeatureViewSpec, keys: Sequence[tuple[str, ...]]) -> list[FeatureRow | None]:
        matches = [self.rows.get((of.name, key)) for key in keys]
        if not self.lies:
            return matches
        return [item and item._replace(values={**item.values, "rate": -0.0}) for item in matches]

    def set_live(self, named: Edition, *, as_of: Any, views: str, newest: bool = True) -> bool:
        self.live = LiveMarker(named.id, as_of, views)
        return True


def history(*result: dict[str, Any]) -> HeldTables:
    return HeldTables({"member_history": rows(MEMBERS, [{"member_id": token(1), **item} for item in result])})


def unfinished(step: RecordingStep) -> list[Entry]:
    return unfinished_materializations(
        IndexedEntry(index=place, entry=entry) for place, entry in enumerate(step.entries)
    )


def run(lake: HeldTables, online: Memory | OnlineWriter, named: Edition = EARLY, **more: Any) -> dict[str, int]:
    more = {"step": RecordingStep(), "fence": ScriptedFence(), **more}
    unfinished = more.pop("unfinished", [])
    row_counts = materialize_views(
        cast(Lake, lake), views(MEMBERS), named, cast(OnlineWriter, online), engine=ENGINE, **more
    )
    complete_unfinished(unfinished, named, step=more["step"])
    return row_counts


def test_the_newest_row_of_each_thing_is_online_and_the_marker_says_so():
    online, step = Memory(), RecordingStep()
    lake = history({"denials": 1, "known_since": instant(1)}, {"denials": 2, "known_since": instant(2)})
    assert run(lake, online, step=step) == {"member_history": 1}
    assert online.rows["member_history", (token(1),)].values["denials"] == 2
    assert online.live == LiveMarker(EARLY.id, EARLY.known_since, "d" * 64)
    (entry,) = step.done("materialize")
    newest = point_in_time.latest_rows(MEMBERS, lake.tables["member_history"], engine=ENGINE)
    assert entry.subject == EARLY.subject
    assert [(ref.name, ref.digest) for ref in entry.inputs] == [
        (EARLY.subject, editions.edition_digest(EARLY)),
        ("views:acme", "d" * 64),
    ]
    assert entry.facts == {
        "rows": {"member_history": 1},
        "rows_digests": {"member_history": table_hash.hash_rows(newest)},
        "superseded_rows": {"member_history": 0},
        "as_of": "2026-01-01T00:00:05.000000Z",
        "live": True,
        "versions": {"member_history": ""},
    }


def test_as_of_is_the_publish_of_the_landed_edition_that_it_was_built_from():
    lake = history()
    built = EARLY.model_copy(update={"parent": "c" * 12})
    lake.landed = edition("c" * 12, published=3).model_copy(update={"level": "landed"})
    assert knowledge_cutoff(cast(Lake, lake), built) == instant(3)
    lake.landed = edition("c" * 12, published=3)
    assert knowledge_cutoff(cast(Lake, lake), built) == instant(5)


def test_an_edition_that_was_only_landed_is_refused():
    with pytest.raises(Refused, match="not built"):
        run(history(), Memory(), EARLY.model_copy(update={"level": "landed"}))


def test_a_table_missing_from_the_edition_is_refused_before_any_write():
    online, step = Memory(), RecordingStep()
    with pytest.raises(ProjectError, match="no table 'member_history'"):
        run(history({}), online, edition(tables=("member_histories",)), step=step)
    assert (online.rows, step.entries) == ({}, [])


def test_a_row_read_back_with_another_bit_stops_it_before_the_marker_moves():
    online, step = Memory(), RecordingStep()
    online.lies = True
    with pytest.raises(CorruptedError, match="1 of 1 rows of member_history"):
        run(history({"rate": 0.0}), online, step=step)
    assert online.live is None
    assert step.done("materialize") == []


def test_newer_knowledge_that_is_online_already_is_no_difference():
    online = Memory()
    run(history({"denials": 9, "known_since": instant(9)}), online, LATE)
    assert run(history({"denials": 1, "known_since": instant(1)}), online) == {"member_history": 1}
    assert online.rows["member_history", (token(1),)].values["denials"] == 9


def test_the_intent_is_recorded_before_the_first_row():
    online, step = Memory(), RecordingStep()
    observed: list[list[str]] = []
    online.between = lambda row: observed.append([entry.phase for entry in step.entries])
    run(history({"denials": 1}), online, step=step)
    assert observed == [["intent"]]
    assert [(entry.phase, entry.subject) for entry in step.entries] == [
        ("intent", EARLY.subject),
        ("done", EARLY.subject),
    ]
    assert step.open_intents() == []


@pytest.mark.parametrize("point", ["materialize.view:written", "materialize.live:set"])
def test_a_run_cut_short_anywhere_is_whole_when_it_is_run_again(point: str):
    online, lake = Memory(), history({"denials": 1})
    with pytest.raises(Died):
        run(lake, online, step=RecordingStep(die_at=point))
    step = RecordingStep()
    assert run(lake, online, step=step) == {"member_history": 1}
    assert online.live is not None
    assert len(step.done("materialize")) == 1


def test_what_was_cut_short_or_failed_is_settled_by_the_next_whole_run():
    online, step = Memory(), RecordingStep(die_at="materialize.view:written")
    with pytest.raises(Died):
        run(history({"denials": 1}), online, step=step)
    online.lies = True
    with pytest.raises(CorruptedError):
        run(history({"rate": 0.0}), online, step=step, unfinished=unfinished(step))
    online.lies = False
    died, failed = unfinished(step)
    assert [open_intent.entry for open_intent in step.open_intents()] == [died]
    run(history({"denials": 1}), online, LATE, step=step, unfinished=unfinished(step))
    settled = [item for item in step.done("materialize") if item.facts.get("recovered")]
    assert [(item.subject, item.intent, item.facts["finished_by"]) for item in settled] == [
        (EARLY.subject, died.id, LATE.subject),
        (EARLY.subject, failed.id, LATE.subject),
    ]
    assert step.open_intents() == unfinished(step) == []


def test_no_other_recovery_stumbles_over_its_open_intent():
    step = RecordingStep(die_at="materialize.view:written")
    with pytest.raises(Died):
        run(history({"denials": 1}), Memory(), step=step)
    lake: Any = None
    store = SimpleNamespace(challenger_id=lambda _: "")
    project: Any = SimpleNamespace(index=Index(step), release_store=store)
    assert Lake.recover(lake, step.open_intents(), step=step) == ()
    assert promotion.recover_releases("denials", step.open_intents(), project, step=step) == ()
    assert len(step.open_intents()) == 1


@pytest.mark.parametrize("end", ["done", "died", "failed"])
@pytest.mark.parametrize("later", ["same", "newer"])
def test_an_answer_given_between_two_rows_of_it_can_be_proved(tmp_path: Path, end: str, later: str):
    ledger = Ledger(tmp_path)
    steps = prediction_story.steps()
    newer = edition("b2", published=9, tables=("member_history",))
    published = steps["built"]._replace(subject=newer.subject, outputs=(prediction_story.ref(newer.subject),))
    answer = steps.pop("predict").but(editions={"member_history": newer.id})
    prediction_story.record_entry(ledger, {**steps, "newer": published})
    worker, api = JournalStep(ledger, "worker"), JournalStep(ledger, "api")

    def ask(row: FeatureRow) -> None:
        # The marker still names b1, and this row is of b2 already.
        if not api.entries and row.edition == newer.id:
            facts = dict(answer.facts)
            api.record_prediction(
                answer.action, answer.subject, inputs=answer.inputs, outputs=answer.outputs, facts=facts
            )
            if end == "failed":
                raise Unavailable("the online store does not answer", fix="start it")

    online, lake = Memory(), history({"denials": 1, "known_since": instant(1)}, {"member_id": token(2)})
    online.between = ask
    if end == "died":
        worker.die_at = "materialize.view:written"
    with contextlib.suppress(Died, Unavailable):
        run(lake, online, newer, step=worker)
    finished = newer if later == "same" else edition("b3", published=11)
    run(lake, online, finished, step=worker, unfinished=unfinished(worker))
    ledger.sequencer.integrate()
    result = collect_story(ledger.index, prediction_story.SUBJECT).verifier_entries
    # What began before the answer, to its end; a later run of the same edition is not of this story.
    phases = [item.phase for item in result if (item.action, item.subject) == ("materialize", newer.subject)]
    assert phases == ["intent", *(["failed"] if end == "failed" else []), "done"]
    assert [gap.message for gap in chain.find_gaps(prediction_story.SUBJECT, result, prediction_story.texts())] == []
    ledger.close()


def test_rows_are_equal_to_the_last_bit_or_not_at_all():
    item = FeatureRow("v", (token(1),), {"rate": 0.0, "n": 1}, instant(0), 0, "e")
    assert rows_equal(item, item._replace(values={"rate": 0.0, "n": 1}))
    assert rows_equal(item._replace(values={"rate": float("nan")}), item._replace(values={"rate": float("nan")}))
    for second in ({"rate": -0.0, "n": 1}, {"rate": 0.0, "n": True}, {"rate": 0.0, "n": 1.0}, {"rate": None, "n": 1}):
        assert not rows_equal(item, item._replace(values=second))
    assert not rows_equal(item, item._replace(sequence=1))


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with running() as started:
        yield started


def many(keys: int, seed: int) -> pa.Table:
    """Draw histories: each thing is known once, twice or thrice, with nulls, negatives and odd floats among it."""
    draw = random.Random(seed)
    floats = [0.0, -0.0, 5e-324, float("inf"), 1 / 3]
    result = [
        {
            "member_id": token(n),
            "known_since": instant(draw.randrange(10**6) / 1e6 + turn),
            "sequence": draw.randrange(-(10**6), 10**12),
            "denials": draw.choice([None, 0, -1, draw.randrange(-(2**63), 2**63)]),
            "rate": draw.choice([None, draw.gauss(0, 1), *floats]),
            "covered": draw.choice([None, True, False]),
            "plan": draw.choice([None, "", "gold", "ö" * draw.randrange(200)]),
        }
        for n in range(keys)
        for turn in range(draw.randrange(1, 4))
    ]
    draw.shuffle(result)
    return rows(MEMBERS, result)


@pytest.mark.live
def test_online_is_offline_on_twenty_thousand_keys(server: Valkey, tmp_path: Path):
    table = many(20_000, seed=4)
    lake, online = HeldTables({"member_history": table}, tmp_path), server.writer()
    assert run(lake, online, verify_all=True) == {"member_history": 20_000}
    offline = [
        expected_row(MEMBERS, row, EARLY.id)
        for row in point_in_time.latest_rows(MEMBERS, table, engine=ENGINE).to_pylist()
    ]
    assert len(offline) == 20_000
    matches = online.read_rows(MEMBERS, [item.key for item in offline])
    assert all(
        row is not None and rows_equal(row, item_value) for row, item_value in zip(matches, offline, strict=True)
    )
    # Again it changes nothing, and an older edition does not take the place of a newer one.
    assert run(lake, online, LATE) == {"member_history": 20_000}
    step = RecordingStep()
    assert run(lake, online, EARLY, step=step) == {"member_history": 20_000}
    (entry,) = step.done("materialize")
    assert (entry.facts["superseded_rows"], entry.facts["live"]) == ({"member_history": 20_000}, False)
    assert online.get_live() == LiveMarker(LATE.id, LATE.known_since, "d" * 64)
    online.close()


@pytest.mark.live
def test_a_key_that_is_no_token_stops_it_and_is_never_written(server: Valkey):
    online = server.writer("globex")
    lake = HeldTables({"member_history": rows(MEMBERS, [{"member_id": "123-45-6789"}])})
    with pytest.raises(Refused, match="not a token") as refused:
        run(lake, online)
    assert "123" not in refused.value.what
    assert online.get_live() is None
    assert set(HISTORY) == {feature.name for feature in MEMBERS.features}
    online.close()
