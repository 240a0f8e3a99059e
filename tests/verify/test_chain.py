import base64
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.builders import prediction_story
from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.ledger import sha
from tests.builders.pack_checks import flipped
from tests.builders.prediction_story import RELEASE, SUBJECT, Key, another, ref, release
from tests.builders.story_changes import (  # fmt: skip
    MODEL,
    RELEASED,
    SHORT,
    Change,
    by,
    changed,
    facts,
    moved,
    output,
    pair,
    put,
    swapped,
    without,
)
from wellspring.records.trust import Ref
from wellspring_verify import approvals, chain, deployments, verify_pack
from wellspring_verify.canonical import dumps_canonical
from wellspring_verify.entries import PackEntry

BREAKS: dict[str, tuple[Change, str]] = {
    "no answer": (without("predict"), "the pack has 0 predict entries of 'prediction:p1'"),
    "two answers": (
        put("again", prediction_story.predict(prediction_story.answer())), "the pack has 2 predict entries",
    ),
    "answer without digest": (
        swapped("predict", "outputs", "answer", Ref(name="answer:p1")), "does not name one answer by its digest",
    ),
    "answer of another": (swapped("predict", "outputs", "answer", ref("answer:p2")), "does not name one answer"),
    "no vector": (swapped("predict", "inputs", "vector", None), "does not name one vector by its digest"),
    "no release": (swapped("predict", "inputs", "release", None), "does not name one release by its digest"),
    "another release": (
        swapped("predict", "inputs", "release", Ref(name=RELEASED, digest=sha("x"))),
        f"'{RELEASED}' was never proposed with the digest that it names",
    ),
    "no proposal": (without("propose"), f"'{RELEASED}' was never proposed"),
    "no approval": (without("approve"), f"'{RELEASED}' has no approval by a second user"),
    "approval of other bytes": (
        swapped("approve", "outputs", "release", Ref(name=RELEASED, digest=sha("x"))),
        f"'{RELEASED}' has no approval by a second user",
    ),
    "self approval": (facts("approve", user="user:ines"), f"'ines' approved '{RELEASED}' and had proposed it"),
    "self approval in capitals": (by("ines", "Ines"), f"'Ines' approved '{RELEASED}' and had proposed it"),
    "two names, one key": (
        pair(omar=Key("ines")), "'omar' has the same key as a proposer: they are one person",
    ),
    "approval before proposal": (moved("approve", before="propose"), "was approved before it was proposed"),
    "approval after promotion": (moved("approve", before="predict"), "was made live before it was approved"),
    "approver not enrolled": (without("enrol omar"), "has no enrollment of 'omar', who approved"),
    "proposer not enrolled": (without("enrol ines"), "has no enrollment of 'ines', who proposed"),
    "enrolled afterwards": (moved("enrol omar", before="promote"), "has no enrollment of 'omar'"),
    "enrolled by another service": (
        changed("enrol omar", service="worker"), "has no enrollment of 'omar'",
    ),
    "enrolled twice": (
        put("again", prediction_story.steps()["enrol omar"].but(public_key=Key("x").text), before="approve"),
        "'omar', who approved", 
    ),
    "signed with another key": (
        facts("approve", signature=Key("x").sign(approvals.approval_text("denials", SHORT, release().digest or ""))),
        f"the signature of 'omar', who approved '{RELEASED}', is invalid",
    ),
    "signed another model": (
        facts("approve", signature=Key("omar").sign(approvals.approval_text("other", SHORT, release().digest or ""))),
        f"the signature of 'omar', who approved '{RELEASED}', is invalid",
    ),
    "signed the proposal": (
        facts("approve", signature=Key("omar").sign(approvals.proposal_text("denials", SHORT, release().digest or ""))),
        f"the signature of 'omar', who approved '{RELEASED}', is invalid",
    ),
    "no signature": (facts("approve", signature=None), "the signature of 'omar'"),
    "proposal not signed": (facts("propose", signature=""), f"the signature of 'ines', who proposed '{RELEASED}'"),
    "nobody approved": (facts("approve", user=None), "has no enrollment of ''"),
    "never promoted": (without("promote"), f"'{RELEASED}' was not made live before the prediction"),
    "promoted afterwards": (
        lambda steps: {**without("promote")(steps), "promote": steps["promote"]},
        f"'{RELEASED}' was not made live before the prediction",
    ),
    "promoted for another model": (facts("promote", model="other"), "was not made live before the prediction"),
    "no candidate": (swapped("propose", "inputs", "candidate", None), "does not name one candidate by its digest"),
    "no gate": (without("gate"), "has not passed the gate with the digest that it names"),
    "another candidate": (
        swapped("gate", "outputs", "candidate", ref(f"candidate:{prediction_story.CANDIDATE_ID}", "x")),
        "has not passed the gate with the digest that it names",
    ),
    "gate failed": (facts("gate", outcome="fail"), "the gate did not pass"),
    "gate said nothing": (facts("gate", outcome=None), "the gate did not pass"),
    "gate afterwards": (moved("gate", before="approve"), "it precedes the gate entry of"),
    "gate without artifact": (swapped("gate", "inputs", "artifact", None), "does not name one artifact by its digest"),
    "artifact of another": (
        swapped("gate", "inputs", "artifact", ref("artifact:denials", "x")),
        "it evaluated an artifact that 'run:r1' did not produce",
    ),
    "no run": (without("train"), "it evaluated the output of 'run:r1', and the pack has no entry of that run"),
    "run afterwards": (moved("train", before="propose"), "it precedes the train entry of 'run:r1'"),
    "run without edition": (swapped("train", "inputs", "edition", None), "does not name one edition by its digest"),
    "no built edition": (without("built"), "it names 'edition:b1', and the pack has no publish entry of it"),
    "another built edition": (
        swapped("train", "inputs", "edition", ref("edition:b1", "x")),
        "'edition:b1' was published with another digest than it names",
    ),
    "learned from a landed edition": (
        swapped("train", "inputs", "edition", ref("edition:e1")),
        "'edition:e1' was not built from a landed edition",
    ),
    "built from nothing": (facts("built", parent=None), "'edition:b1' was not built from a landed edition"),
    "built from what it does not pin": (
        swapped("built", "inputs", "edition", None), "it does not pin the digest of 'edition:e1'",
    ),
    "built from other bytes": (
        swapped("built", "inputs", "edition", ref("edition:e1", "x")),
        "'edition:e1' was published with another digest than it names",
    ),
    "built from a built one": (
        lambda steps: {
            "first": steps["built"]._replace(subject="edition:b0", outputs=(ref("edition:b0"),)),
            **swapped("built", "inputs", "edition", ref("edition:b0"))(facts("built", parent="b0")(steps)),
        },
        "'edition:b0' is not a landed edition",
    ),
    "never materialized": (without("materialize"), "'edition:b1', whose rows were not materialized before"),
    "materialized with other versions": (
        swapped("materialize", "inputs", "views", ref("views:health_plan", "x")),
        "it used 'edition:b1', which was materialized with other versions of the views",
    ),
    "materialized afterwards": (
        lambda steps: {**without("materialize")(steps), "materialize": steps["materialize"]},
        "whose rows were not materialized before it",
    ),
    "rows of an edition that is not told": (
        facts("predict", editions={"member_history": "b0"}), "it names 'edition:b0', and the pack has no publish entry",
    ),
    "rows of a landed edition": (
        facts("predict", editions={"member_history": "e1"}), "'edition:e1' was not built from a landed edition",
    ),
    "rows that were never online": (
        lambda steps: {
            "older": steps["built"]._replace(subject="edition:b0", outputs=(ref("edition:b0"),)),
            **facts("predict", editions={"member_history": "b0"})(steps),
        },
        "it used 'edition:b0', whose rows were not materialized before it",
    ),
    "no key": (
        without("key"),
        f"it is signed with '{prediction_story.KEY}', and the pack has no earlier create_key entry of it",
    ),
    "key afterwards": (
        lambda steps: {**without("key")(steps), "key": steps["key"]}, "the pack has no earlier create_key entry of it",
    ),
    "key not named": (swapped("predict", "inputs", "key", None), "it does not name one key"),
    "key of another": (
        facts("key", public_key=Key("x").text), f"its public key is not that of '{prediction_story.KEY}'",
    ),
    "key is none": (facts("key", public_key="AAAA="), f"its public key is not that of '{prediction_story.KEY}'"),
    "key expired": (
        facts("key", expires_at="2026-11-25T12:00:05.000000Z"), "which expired at '2026-11-25T12:00:05.000000Z'",
    ),
    "key without end": (facts("key", expires_at=None), "which expired at ''"),
    "key with an odd end": (facts("key", expires_at="9999"), "which expired at '9999'"),
    "key of another service": (changed("key", service="worker"), "the pack has no earlier create_key entry of it"),
    "answer of another service": (
        changed("predict", service="worker"), "the pack has 0 predict entries of 'prediction:p1'",
    ),
    "gate of another service": (changed("gate", service="api"), "has not passed the gate"),
    "approval of another service": (
        changed("approve", service="api"), f"'{RELEASED}' has no approval by a second user",
    ),
    "another decision": (
        facts("predict", decision="pays"), f"its decision does not follow from its numbers and '{RELEASED}'",
    ),
    "score that decides otherwise": (
        facts("predict", score=(0.25).hex()), f"its decision does not follow from its numbers and '{RELEASED}'",
    ),
    "no score": (facts("predict", score=None), "its decision does not follow from"),
    "release of another model": (facts("predict", model="other"), "is a release of 'denials', not of 'other'"),
}  # fmt: skip


@pytest.mark.parametrize("subject", [SUBJECT, MODEL, RELEASED, f"candidate:{prediction_story.CANDIDATE_ID}", "run:r1"])
def test_a_whole_story_has_no_gap(subject: str):
    assert output(prediction_story.steps(), subject) == []
    assert output({}, subject) != []


@pytest.mark.parametrize("name", BREAKS)
def test_each_missing_link_is_named(name: str):
    change, what = BREAKS[name]
    matches = output(change(prediction_story.steps()))
    assert any(what in item for item in matches), matches


@pytest.mark.parametrize("name", [name for name, (_, what) in BREAKS.items() if "approv" in what or "enrol" in what])
def test_the_story_of_a_release_names_what_is_wrong_with_its_people(name: str):
    change, what = BREAKS[name]
    matches = output(change(prediction_story.steps()), MODEL)
    assert any(what in item for item in matches), matches


@pytest.mark.parametrize(
    ("field", "value"),
    [("artifact", sha("x")), ("candidate", "c" * 12), ("edition", "b2"), ("views", sha("x")), ("transform", sha("x"))],
)
def test_the_approved_release_is_compared_with_what_the_gate_evaluated(field: str, value: str):
    """A proposer writes another part into the release than the candidate's: everybody signs, the digests all fit."""
    second = {**RELEASE, field: value}
    matches = output(prediction_story.steps(second), SUBJECT, second)
    expected = f"'{release(second).name}' has another {field} than the one that the gate evaluated"
    online = "it used 'edition:b1', which was materialized with other versions of the views"
    assert matches == [*([online] if field == "views" else []), expected]


def test_a_release_that_cannot_be_read_is_named():
    steps = prediction_story.entries(prediction_story.steps())
    matches = [gap.message for gap in chain.find_gaps(SUBJECT, steps, {})]
    assert matches == [f"the pack does not contain the text of '{RELEASED}', which was approved"]
    for error in (b"[]", b"{", b'{"a": 1}'):
        documents = dict.fromkeys(prediction_story.texts(), error)
        assert f"the text of '{RELEASED}' is not a release" in [
            gap.message for gap in chain.find_gaps(SUBJECT, steps, documents)
        ]


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_an_answer_of_a_release_that_was_replaced_is_named(action: str):
    steps = prediction_story.steps()
    late = {f"later {number}": steps["key"] for number in range(deployments.MAX_SWITCH_LAG_SECONDS)}
    gone = {**without("predict")(steps), "other": another("0.9", action=action)}
    what = f"'{RELEASED}' had been replaced by '{another('0.9').subject}'"
    # What was under way when it was replaced may still be answered; each step here takes a second.
    assert output({**gone, "predict": steps["predict"]}) == []
    assert any(what in item for item in output({**gone, **late, "predict": steps["predict"]}))
    back = prediction_story.roll_back(another("0.9"))
    assert output({**gone, **late, "back": back, "predict": steps["predict"]}) == []
    # What replaced it may be what the process could not load; then its line says so, of that one alone.
    for held_back, sound in ((another("0.9").subject, True), (RELEASED, False), (another("0.8").subject, False)):
        facts = {**steps["predict"].facts, "superseded_by": held_back}
        assert (output({**gone, **late, "predict": steps["predict"]._replace(facts=facts)}) == []) is sound
    # Of another model it says nothing.
    foreign = {name: item.but(model="other") if name == "other" else item for name, item in gone.items()}
    assert output({**foreign, **late, "predict": steps["predict"]}) == []


def test_a_rollback_that_its_user_did_not_sign_is_named():
    steps = prediction_story.steps()
    gone = {**without("predict")(steps), "other": another("0.9")}
    signed = prediction_story.roll_back(another("0.9"))
    assert output({**gone, "back": signed, "predict": steps["predict"]}) == []
    for back in (
        prediction_story.roll_back(another("0.9"), signer="ines"),
        signed.but(previous_release=another("0.8").subject.partition(":")[2]),
        signed.but(signed_at="2026-11-25T12:00:15.000000Z"),
        signed.but(signature=""),
        signed.but(user="user:ines"),
    ):
        gaps = output({**gone, "back": back, "predict": steps["predict"]})
        assert any("who rolled 'denials' back, is invalid" in gap for gap in gaps)


def test_a_rollback_to_another_release_than_its_user_signed_is_named():
    steps = prediction_story.steps()
    gone = {**without("predict")(steps), "other": another("0.9")}
    release_id = RELEASED.partition(":")[2]
    signed = prediction_story.roll_back(another("0.9"), target=release_id)
    assert output({**gone, "back": signed, "predict": steps["predict"]}) == []
    for target in ("", "0" * 12):
        gaps = output({**gone, "back": signed.but(to_release=target), "predict": steps["predict"]})
        assert any("who rolled 'denials' back, is invalid" in gap for gap in gaps)
    elsewhere = prediction_story.roll_back(another("0.9"), target="0" * 12)
    gaps = output({**gone, "back": elsewhere, "predict": steps["predict"]})
    assert gaps == ["'omar' signed a rollback to '000000000000', and it restored another release"]


def test_a_promotion_has_effect_from_its_intent_on():
    entries = prediction_story.entries(prediction_story.steps())
    end = next(item for item in entries if (item.action, item.phase) == ("promote", "done"))
    answer = next(item for item in entries if item.action == "predict")
    later = [item for item in entries if item.tree_index not in (end.tree_index, answer.tree_index)]
    later += [answer._replace(tree_index=90), end._replace(tree_index=91)]
    assert chain.find_gaps(SUBJECT, later, prediction_story.texts()) == []
    later[-1] = end._replace(tree_index=91, intent=None)
    assert chain.find_gaps(SUBJECT, later, prediction_story.texts()) != []


def started(*ends: str) -> list[PackEntry]:
    """Tell of an answer that was given while its edition was materialized, which then came to these ends."""
    steps = prediction_story.steps()
    entries = prediction_story.entries({**steps, "materialize": steps["materialize"]._replace(intent=True)})
    end = next(item for item in entries if (item.action, item.phase) == ("materialize", "done"))
    recovered = end._replace(inputs=(), facts={"recovered": True})
    after = {"done": end, "failed": end._replace(phase="failed"), "recovered": recovered}
    after["another"] = end._replace(intent="worker:999")
    late = [after[name]._replace(tree_index=len(entries) + place) for place, name in enumerate(ends)]
    return [item for item in entries if item != end] + late


@pytest.mark.parametrize("ends", [("done",), ("recovered",), ("failed", "recovered")])
def test_rows_may_be_read_while_their_edition_is_materialized(ends: tuple[str, ...]):
    assert chain.find_gaps(SUBJECT, started(*ends), prediction_story.texts()) == []


@pytest.mark.parametrize("ends", [(), ("failed",), ("another",), ("failed", "another")])
def test_rows_whose_materializing_never_came_to_its_end_are_named(ends: tuple[str, ...]):
    matches = [gap.message for gap in chain.find_gaps(SUBJECT, started(*ends), prediction_story.texts())]
    assert matches == ["it used 'edition:b1', whose rows were not materialized before it"]


@pytest.mark.parametrize("name", [*prediction_story.steps()])
def test_what_another_service_says_of_a_step_counts_for_nothing(name: str):
    assert output(changed(name, service="enclave")(prediction_story.steps())) != []


def test_additional_facts_are_ignored():
    steps = facts("gate", live="")(facts("promote", executed_by="user:omar", projected=True)(prediction_story.steps()))
    assert output(steps) == []


@pytest.mark.parametrize(
    "odd", [{"labels": "pd"}, {"labels": ["pays"]}, {"threshold": 1}, {"threshold": "half"}, {"kind": "newer"}]
)
def test_an_answer_of_a_release_that_cannot_decide_is_named(odd: dict[str, JsonValue]):
    second = {**RELEASE, "decision_rule": {**prediction_story.RULE, **odd}}
    what = f"its decision does not follow from its numbers and '{release(second).name}'"
    assert output(prediction_story.steps(second), SUBJECT, second) == [what]


def test_rows_that_an_older_edition_brought_are_followed_too():
    steps = prediction_story.steps()
    older = {
        "older": steps["built"]._replace(subject="edition:b0", outputs=(ref("edition:b0"),)),
        "older online": steps["materialize"]._replace(subject="edition:b0"),
    }
    assert output({**older, **facts("predict", editions={"member_history": "b0"})(steps)}) == []
    for odd in ({}, [], "b0", None):
        assert output(facts("predict", editions=odd)(steps)) == []


def test_a_second_approval_that_is_late_or_of_other_bytes_does_no_harm():
    steps = prediction_story.steps()
    third = steps["enrol omar"]._replace(subject="user:zoe").but(public_key=Key("zoe").text)
    note = approvals.approval_text("denials", SHORT, release().digest or "")
    agreed = steps["approve"].but(user="user:zoe", signature=Key("zoe").sign(note))
    second = steps["approve"]._replace(outputs=(Ref(name=RELEASED, digest=sha("x")),))
    assert output(put("zoe agrees", agreed)(put("zoe", third)(put("other", second, before="approve")(steps)))) == []
    assert output(put("zoe agrees", agreed)(steps)) != []


def test_every_bit_of_an_approval_counts():
    entries = prediction_story.entries(prediction_story.steps())
    place, approval = next((place, item) for place, item in enumerate(entries) if item.action == "approve")
    signature = base64.b64decode(str(approval.facts["signature"]))
    for bit in range(8 * len(signature)):
        second = base64.b64encode(flipped(signature, bit)).decode()
        entries[place] = approval._replace(facts={**approval.facts, "signature": second})
        matches = chain.find_gaps(SUBJECT, entries, prediction_story.texts())
        assert matches[0] == (place, f"the signature of 'omar', who approved '{RELEASED}', is invalid")


def test_a_release_without_approval_has_a_story():
    steps = without("approve", "promote", "key", "predict")(prediction_story.steps())
    assert output(steps, RELEASED) == []
    assert f"'{RELEASED}' has no approval by a second user" in output(steps, MODEL)
    assert "the signature of 'ines'" in "".join(output(facts("propose", signature="")(steps), RELEASED))


def test_what_has_no_chain_has_no_gap():
    for subject in ("drop:d0", "edition:b1", "dataset:x", "", "x"):
        assert output({}, subject) == []
        assert chain.summarize_chain(subject, answer_checked=False) == []


PACKS = {
    "predict": "predict entries of 'prediction:p1'", "propose": "was never proposed",
    "approve": "no approval by a second user",
    "promote": "was not made live", "gate": "has not passed the gate", "train": "has no entry of that run",
    "enroll": "has no enrollment of", "create_key": "has no earlier create_key entry",
    "materialize": "were not materialized before it",
    "publish": "has no publish entry of it", "admit": "no entry of the pack produced it",
    "land": "no entry of the pack produced it", "drop:d0": "no entry of the pack produced it",
    "edition:e0": "the pack has no entry of that",
}  # fmt: skip


@pytest.mark.parametrize("action", PACKS)
def test_a_sealed_pack_without_a_link_is_corrupted(tmp_path: Path, action: str):
    item = prediction_story.built(tmp_path, without=action)
    report = verify_pack(item.folder, key=item.key, witness=item.witness, services=SERVICE_KEY_LINES)
    assert report.outcome == 20
    assert any(PACKS[action] in finding.message for finding in report.findings), report.findings
    assert all(finding.file.startswith(("entries/", "manifest.json")) for finding in report.findings)


def test_a_verified_pack_lists_what_it_proves_and_what_not(tmp_path: Path):
    item = prediction_story.built(tmp_path)
    report = verify_pack(item.folder, key=item.key, witness=item.witness, services=SERVICE_KEY_LINES)
    assert (report.outcome, report.findings) == (0, ())
    lines = "\n".join(report.summary)
    for what in ("before it went live", "the prediction itself was NOT checked", "the score was NOT computed again"):
        assert what in lines


def test_what_two_people_signed_is_text_that_anybody_can_write():
    digest = release().digest or ""
    assert prediction_story.texts() == {(RELEASED, digest): dumps_canonical(RELEASE)}
    assert approvals.approval_text("denials", SHORT, digest).decode().split("\n") == [
        "wellspring release v1", "denials", SHORT, digest, "",
    ]  # fmt: skip


def evaluated(*earlier: Ref) -> Change:
    """Let the gate judge the artifact of the run r1 as the run r2 scored it again, without training."""

    def change(steps: dict[str, prediction_story.StoryStep]) -> dict[str, prediction_story.StoryStep]:
        train = steps["train"]
        again = train._replace(
            action="evaluate",
            subject="run:r2",
            inputs=(*train.inputs, *train.outputs, *(earlier or (Ref(name="run:r1"),))),
        )
        gated = swapped("gate", "inputs", "run", Ref(name="run:r2"))
        return gated(put("evaluate", again, before="gate")(steps))

    return change


def test_an_artifact_that_was_scored_again_leads_to_the_run_that_trained_it():
    assert output(evaluated()(prediction_story.steps())) == []
    trained_by_none = evaluated()(prediction_story.steps())
    what = "the pack has no entry of a run that trained 'artifact:denials'"
    assert output(without("train")(trained_by_none)) == [what]
    # A run that names itself, or another that trained another artifact, trained nothing of it.
    assert output(evaluated(Ref(name="run:r2"))(prediction_story.steps())) == [what]
    foreign = swapped("train", "outputs", "artifact", ref("artifact:denials", "another"))
    assert output(foreign(evaluated()(prediction_story.steps()))) == [what]
    assert output(evaluated(Ref(name="run:r1"), Ref(name="run:r0"))(prediction_story.steps())) == [
        "it does not name one run", what,
    ]  # fmt: skip


def test_an_artifact_that_was_scored_again_before_it_was_trained_is_named():
    steps = evaluated()(prediction_story.steps())
    late = moved("train", before="gate")(steps)
    assert [message for message in output(late) if "on which it depends" in message] != []
