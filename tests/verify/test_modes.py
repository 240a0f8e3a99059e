"""Evidence of development is refused unless it is asked for, and counts for nothing once the project is governed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import prediction_story
from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.packs import Built
from tests.builders.prediction_story import SUBJECT, Key, StoryStep, answer, predict, release
from tests.builders.story_changes import MODEL, RELEASED, SHORT, Steps, facts, moved, output, put
from wellspring_verify import VerificationReport, approvals, verify_pack
from wellspring_verify.entries import EntryBook
from wellspring_verify.modes import ModePeriod, describe_development, find_mode_period

DIGEST = release().digest or ""


def mode(name: str, *, service: str = "supervisor") -> StoryStep:
    return StoryStep(service, "mode", "project:x", facts={"mode": name})


def in_development() -> Steps:
    """Tell how ines released the model alone, and a prediction of it, in development."""
    signed = Key("ines").sign(approvals.approval_text("denials", SHORT, DIGEST))
    steps = facts("approve", user="user:ines", signature=signed)(prediction_story.steps())
    return {"mode": mode("development"), **steps, "predict": predict(answer(mode="development"))}


def then_governed(*, approved_again: bool = True) -> Steps:
    """Tell how the project became governed, two persons signed the live release again, and it predicted."""
    steps = in_development()
    people = prediction_story.people(keys={"ines": Key("ines again")})
    again: Steps = {f"{name} again": step for name, step in people.items()} if approved_again else {}
    return {**steps, "governed": mode("governed"), **again, "predict": predict(answer(mode="governed"))} | {
        "predict": predict(answer(mode="governed"))
    }


def last(steps: Steps, name: str = "predict") -> Steps:
    return {**{key: step for key, step in steps.items() if key != name}, name: steps[name]}


def verify(item: Built, *, allow_development: bool = False) -> VerificationReport:
    return verify_pack(
        item.folder, key=item.key, witness=item.witness, services=SERVICE_KEY_LINES,
        allow_development=allow_development,
    )  # fmt: skip


def test_in_development_one_person_is_enough():
    for subject in (SUBJECT, MODEL, RELEASED):
        assert output(in_development(), subject) == []


def test_without_the_entry_of_the_mode_one_person_is_not_enough():
    steps = {name: step for name, step in in_development().items() if name != "mode"}
    assert f"'user:ines' approved '{RELEASED}' and had proposed it".replace("user:", "") in output(steps)
    worker = {**in_development(), "mode": mode("development", service="worker")}
    assert output(worker) == output(steps)


def test_a_prediction_that_hides_development_is_named():
    steps = {**in_development(), "predict": predict(answer())}
    assert "its project was in development, and it does not say so" in output(steps)


def test_approvals_of_development_do_not_count_for_a_governed_prediction():
    assert output(last(then_governed(approved_again=False))) == [f"'{RELEASED}' has no approval by a second user"]


def test_two_persons_who_sign_again_make_a_governed_release():
    steps = last(then_governed())
    assert output(steps) == []
    assert output(steps, MODEL) == []
    early = moved("predict", before="approve again")(steps)
    assert output(early) == [f"'{RELEASED}' has no approval by a second user"]


def test_a_key_of_development_signs_nothing_in_a_governed_project():
    steps = last(then_governed())
    del steps["enrol omar again"]
    assert f"the pack has no enrollment of 'omar', who approved '{RELEASED}'" in output(steps)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: prediction_story.steps(), ModePeriod("governed")),
        (in_development, ModePeriod("development")),
        (lambda: put("back", mode("development"))(last(then_governed())), ModePeriod("governed", 22)),
    ],
)
def test_a_log_is_governed_for_ever(change: Callable[[], Steps], expected: ModePeriod):
    book = EntryBook(prediction_story.entries(change()))
    period = find_mode_period(book)
    assert (period.mode, period.start >= 0) == (expected.mode, expected.start >= 0)


def test_evidence_of_development_is_refused_unless_it_is_allowed(tmp_path: Path):
    item = prediction_story.built(tmp_path, in_development())
    report = verify(item)
    assert (report.outcome, report.findings) == (77, ())
    assert report.development == "its prediction was made in development"
    allowed = verify(item, allow_development=True)
    assert (allowed.outcome, allowed.development) == (0, report.development)
    assert allowed.summary[0].startswith("DEVELOPMENT: ")


def test_the_manifest_says_development_and_is_compared_with_the_entries(tmp_path: Path):
    item = prediction_story.built(tmp_path, in_development())
    manifest = (item.folder / "manifest.json").read_bytes()
    assert b'"mode":"development"' in manifest
    (item.folder / "manifest.json").write_bytes(manifest.replace(b'"mode":"development",', b""))
    findings = [str(finding) for finding in verify(item, allow_development=True).findings]
    assert "manifest.json: it does not say development, and its entries differ" in findings


def test_a_pack_that_leaves_the_entry_of_the_mode_out_is_corrupted(tmp_path: Path):
    item = prediction_story.built(tmp_path, in_development(), without="mode")
    assert verify(item, allow_development=True).outcome == 20


def test_a_governed_project_is_not_described():
    assert describe_development(EntryBook(prediction_story.entries(prediction_story.steps()))) == ""
    steps = {name: step for name, step in in_development().items() if name != "predict"}
    assert describe_development(EntryBook(prediction_story.entries(steps))) == "its project is in development"
