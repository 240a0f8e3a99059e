from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.builders import prediction_story as result
from tests.builders.ledger import JournalStep, Ledger
from tests.builders.prediction_story import CANDIDATE_ID, KEY, SUBJECT, another, release
from wellspring.compliance import provenance

RELEASED = release().name
SHORT = RELEASED.partition(":")[2]
MODEL = f"model:denials@{SHORT}"
DATA = {"drop:d0", "drop:d1", "edition:e0", "edition:e1", "edition:b1"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    item = Ledger(tmp_path_factory.mktemp("project"))
    steps = result.steps()
    late = result.predict(result.answer(id="p2"))
    result.record_entry(item, {**steps, "other": another("0.9"), "late": late})
    with JournalStep(item, "enclave")("expire", "drop:d0", facts={"discarded": 2}):
        pass
    with JournalStep(item, "worker")("replay", SUBJECT):
        pass
    item.sequencer.integrate()
    return item


def subjects(ledger: Ledger, subject: str) -> set[str]:
    return {item.entry.subject for item in provenance.collect_entries(ledger.index, subject) or ()}


def actions(ledger: Ledger, subject: str) -> list[str]:
    return [item.entry.action for item in provenance.collect_entries(ledger.index, subject) or ()]


def test_an_answer_leads_back_to_everything_that_it_rests_on(ledger: Ledger):
    assert subjects(ledger, SUBJECT) == {
        SUBJECT, RELEASED, f"candidate:{CANDIDATE_ID}", "run:r1", KEY, "user:ines", "user:omar", *DATA,
    }  # fmt: skip


def test_an_answer_leads_to_the_editions_that_brought_its_rows(tmp_path: Path):
    item = Ledger(tmp_path)
    steps = result.steps()
    older = {
        "older": steps["built"]._replace(subject="edition:b0", outputs=(result.ref("edition:b0"),)),
        "older online": steps["materialize"]._replace(subject="edition:b0"),
    }
    result.record_entry(item, {**older, **steps, "predict": steps["predict"].but(editions={"member_history": "b0"})})
    assert subjects(item, SUBJECT) >= {"edition:b0", "edition:b1"}


def test_the_story_of_an_answer_ends_with_the_answer(ledger: Ledger):
    assert actions(ledger, SUBJECT)[-1] == "predict"
    assert {"expire", "replay"} & set(actions(ledger, SUBJECT)) == set()
    # What went live between the two answers is told of the later one only.
    assert another("0.9").subject in subjects(ledger, "prediction:p2")
    assert "expire" in actions(ledger, "edition:b1")


def test_the_end_of_a_promotion_that_had_begun_is_included(tmp_path: Path):
    item = Ledger(tmp_path)
    steps = result.steps()
    promote = steps.pop("promote")
    answer = steps.pop("predict")
    result.record_entry(item, steps)
    with JournalStep(item, "worker")(
        promote.action, promote.subject, inputs=promote.inputs, outputs=promote.outputs, intent=True,
        facts=dict(promote.facts),
    ), JournalStep(item, "api")(
        answer.action, answer.subject, inputs=answer.inputs, outputs=answer.outputs, facts=dict(answer.facts)
    ):  # fmt: skip
        pass
    with JournalStep(item, "enclave")("expire", "drop:d0"):
        pass
    item.sequencer.integrate()
    matches = [
        (collect_entry.entry.action, collect_entry.entry.phase)
        for collect_entry in provenance.collect_entries(item.index, SUBJECT) or ()
    ]
    assert matches[-3:] == [("promote", "intent"), ("predict", "done"), ("promote", "done")]


def test_a_model_leads_to_its_release_and_to_all_that_went_live(ledger: Ledger):
    matches = subjects(ledger, MODEL)
    assert matches == {
        RELEASED, another("0.9").subject, f"candidate:{CANDIDATE_ID}", "run:r1", "user:ines", "user:omar", *DATA,
    }  # fmt: skip
    assert "expire" in actions(ledger, MODEL)


def test_the_parts_have_stories_too(ledger: Ledger):
    assert subjects(ledger, RELEASED) == subjects(ledger, MODEL) - {another("0.9").subject}
    assert subjects(ledger, f"candidate:{CANDIDATE_ID}") == {f"candidate:{CANDIDATE_ID}", "run:r1", *DATA}
    assert subjects(ledger, "run:r1") == {"run:r1", *DATA}
    assert subjects(ledger, "edition:b1") == DATA


@pytest.mark.parametrize(
    "subject", ["prediction:none", "model:denials@none", f"model:other@{SHORT}", f"model:denials{SHORT}", "run:x"]
)
def test_what_the_ledger_does_not_know_has_no_entry(ledger: Ledger, subject: str):
    assert provenance.collect_entries(ledger.index, subject) == []


@pytest.mark.parametrize("subject", ["", "x", "server:openbao", "model:", "user:ines", "key:x"])
def test_what_has_no_story_is_none(ledger: Ledger, subject: str):
    assert provenance.collect_entries(ledger.index, subject) is None


def test_the_nearest_name_can_be_found(ledger: Ledger):
    assert provenance.list_subjects_of_kind(ledger.index, "model") == sorted(
        [MODEL, f"model:denials@{another('0.9').subject[8:]}"]
    )
    assert provenance.list_subjects_of_kind(ledger.index, "release") == sorted([RELEASED, another("0.9").subject])
    assert provenance.list_subjects_of_kind(ledger.index, "dataset") == ["dataset:medical_claim"]
    assert provenance.list_subjects_of_kind(ledger.index, "prediction") == []


def test_a_pipeline_has_its_newest_editions_builds_and_contracts(tmp_path: Path):
    item = Ledger(tmp_path)
    worker, enclave = JournalStep(item, "worker"), JournalStep(item, "enclave")
    old, new, foreign = "shop-000000000001", "shop-000000000002", "shop-b-000000000003"
    for drop, contract in ((old, "orders"), (new, "orders"), (foreign, "returns")):
        with enclave("land", f"drop:{drop}", facts={"contract": contract}):
            pass
    for contract in ("orders@1.0.0", "orders@1.1.0", "returns@1.0.0"):
        with enclave("accept", f"contract:{contract}"):
            pass
    editions: tuple[tuple[str, dict[str, JsonValue]], ...] = (
        ("e1", {"drops": [old]}),
        ("e2", {"drops": [new], "parent": "e1"}),
        ("b1", {"drops": [], "level": "built", "parent": "e1"}),
        ("b2", {"drops": [], "level": "built", "parent": "e2"}),
        ("e3", {"drops": [foreign], "parent": "e2"}),
    )
    for edition, facts in editions:
        with worker("publish", f"edition:{edition}", facts=facts):
            pass
    for landed in ("e1", "e2", "e3"):
        with worker("transform", f"dbt:{landed}", inputs=[result.ref(f"edition:{landed}")]):
            pass
    item.sequencer.integrate()
    assert subjects(item, "pipeline:shop") == {
        f"drop:{old}", f"drop:{new}", "edition:e1", "edition:e2", "edition:b2", "dbt:e2",
        "contract:orders@1.0.0", "contract:orders@1.1.0",
    }  # fmt: skip
    assert provenance.list_subjects_of_kind(item.index, "pipeline") == ["pipeline:shop", "pipeline:shop-b"]
    assert subjects(item, "pipeline:shed") == set()


def test_the_table_says_what_the_code_does():
    rows = [line.strip("|").split("|") for line in (provenance.__doc__ or "").splitlines() if line.startswith("| ")][1:]
    table = {
        action: {thing.strip() for thing in to.replace(";", ",").split(",")}
        for user_name, _, to in rows
        for action in (part.strip() for part in user_name.split(","))
    }
    assert table == {action: set(to) for action, to in provenance.PROVENANCE_EDGES.items()}
