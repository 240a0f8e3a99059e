import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import prediction_story
from tests.builders.prediction_story import CANDIDATE_ID, KEY, SUBJECT, another, release
from wellspring_verify import summary
from wellspring_verify.entries import PackEntry
from wellspring_verify.story import render_story_page

STEPS = prediction_story.steps()
RELEASED = release().name
MODEL = f"model:denials@{RELEASED.partition(':')[2]}"


def output(subject: str = SUBJECT, **changed: prediction_story.StoryStep) -> list[str]:
    return summary.summarize_subject(subject, prediction_story.entries({**STEPS, **changed}))


def test_a_prediction_is_summarized_in_sentences():
    assert output() == [
        "At 2026-11-25T12:00:13.000000Z the model denials predicted denies, with the score 0.8125,"
        " from fresh features.",
        f"The release is {RELEASED}, proposed by ines and approved by omar.",
        f"The gate verdict on candidate:{CANDIDATE_ID} was pass.",
        "run:r1 trained it on edition:b1, built from edition:e1.",
        "Its features are of edition:b1.",
        f"It was signed with {KEY}, which expires at {prediction_story.EXPIRES}.",
    ]


def test_the_summary_of_a_release_says_when_it_was_live():
    second = another("0.9")
    lines = output(MODEL, other=second, back=prediction_story.roll_back(second))
    assert lines[-3:] == [
        f"{RELEASED} went live at 2026-11-25T12:00:11.000000Z.",
        f"{second.subject} went live at 2026-11-25T12:00:14.000000Z.",
        f"{RELEASED} went live again at 2026-11-25T12:00:15.000000Z.",
    ]


def test_nobody_is_named_who_is_not_in_the_entries():
    lines = summary.summarize_subject(
        SUBJECT, prediction_story.entries({name: STEPS[name] for name in ("propose", "predict")})
    )
    assert f"The release is {RELEASED}, proposed by ines and approved by nobody." in lines
    assert summary.summarize_subject(SUBJECT, prediction_story.entries({"predict": STEPS["predict"]}))[1] == (
        f"The release is {RELEASED}, approved by nobody."
    )
    assert summary.summarize_subject(SUBJECT, []) == []


def test_the_drops_are_those_of_the_edition_and_of_all_that_it_follows(tmp_path_factory: pytest.TempPathFactory):
    item = prediction_story.built(tmp_path_factory.mktemp("told"))
    page = (item.folder / "story.md").read_text()
    assert "run:r1 trained it on edition:b1, built from edition:e1 with the rows of 2 drops." in page


@pytest.mark.parametrize("subject", ["drop:d0", "edition:e1", "dataset:x", "release:x", "x", ""])
def test_other_subjects_have_no_summary(subject: str):
    assert output(subject) == []


@pytest.mark.parametrize(
    ("score", "shown"), [((0.8125).hex(), "0.8125"), ("", ""), ("x", "x"), ("0x1p9999", "0x1p9999"), ("nan", "nan")]
)
def test_a_score_is_shown_as_people_read_it(score: str, shown: str):
    assert summary.format_score(score) == shown


def test_words_from_elsewhere_end_no_quotation_and_move_no_cursor():
    hostile = "x`\n# Heading\x1b[2J"
    entries = prediction_story.entries(
        {**STEPS, "predict": STEPS["predict"].but(model=hostile, decision=hostile, score=hostile)}
    )
    page = render_story_page(SUBJECT, entries).decode()
    assert "\n# Heading" not in page
    assert "\x1b" not in page


@given(st.sampled_from(list(STEPS)), st.dictionaries(st.sampled_from(["user", "model", "score", "parent"]), st.none()))
def test_no_facts_make_it_fail(name: str, facts: dict[str, None]):
    entries: list[PackEntry] = prediction_story.entries(
        {**STEPS, name: STEPS[name]._replace(facts=facts, inputs=(), outputs=())}
    )
    for subject in (SUBJECT, MODEL):
        assert all(isinstance(line, str) for line in summary.summarize_subject(subject, entries))


def test_the_summary_of_an_edition_that_is_its_own_parent_ends():
    loop = STEPS["built"].but(parent="b1")
    assert any("edition:b1" in line for line in output(built=loop))
