import json
import random
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import prediction_story
from tests.builders.pack_checks import flipped
from tests.builders.prediction_story import SUBJECT, Key
from wellspring_verify import answer_signature
from wellspring_verify.prediction import describe_row_tokens, find_prediction_faults

ENTRIES = prediction_story.entries(prediction_story.steps())


def matches(output: Mapping[str, object], subject: str = SUBJECT) -> list[str]:
    return find_prediction_faults(json.dumps(output).encode(), subject, ENTRIES, prediction_story.texts())


def test_the_answer_that_was_given_has_no_fault_however_it_is_laid_out():
    output = prediction_story.answer()
    assert matches(output) == []
    assert (
        find_prediction_faults(json.dumps(dict(reversed(output.items())), indent=2).encode(), SUBJECT, ENTRIES, {})
        == []
    )


def test_an_answer_that_was_changed_is_named():
    output = prediction_story.answer()
    for name, value in {
        "score": 0.8126, "decision": "pays", "reasons": [], "freshness": "stale", "age_seconds": 4, "edition": "b2",
        "release": "x", "vector_digest": "x", "threshold": "0.6", "more": 1,
    }.items():  # fmt: skip
        faulty = matches({**output, name: value})
        assert "it is not the prediction that the API returned: its SHA-256 is not the one in the log" in faulty
        assert "its signature is invalid: the prediction or the signature was changed" in faulty
        assert (f"its {name} differs from the one in the log" in faulty) == (
            name in {"score", "decision", "freshness", "edition", "release", "vector_digest"}
        )


def test_a_signed_prediction_that_was_not_journaled_is_reported():
    """Whoever has the process's key can promise anything; the log has the digest of what was answered."""
    assert matches(prediction_story.answer(reasons=[])) == [
        "it is not the prediction that the API returned: its SHA-256 is not the one in the log"
    ]


def test_a_prediction_that_differs_from_the_log_is_reported():
    steps = prediction_story.steps()
    for fact in ("model", "decision", "freshness", "score"):
        entries = prediction_story.entries({**steps, "predict": steps["predict"].but(**{fact: "x"})})
        faulty = find_prediction_faults(
            json.dumps(prediction_story.answer()).encode(), SUBJECT, entries, prediction_story.texts()
        )
        assert faulty == [f"its {fact} differs from the one in the log"]


def test_an_answer_about_another_thing_is_named():
    """Everything else is as it was: digest, decision, promise."""
    what = "its request_digest differs from the one in the log"
    second = prediction_story.answer(request_digest="0" * 64)
    entries = prediction_story.entries({**prediction_story.steps(), "predict": prediction_story.predict(second)})
    assert find_prediction_faults(json.dumps(second).encode(), SUBJECT, entries, {}) == [what]
    silent = {name: value for name, value in prediction_story.answer().items() if name != "request_digest"}
    assert what in matches(silent)
    for requests in (None, ""):
        steps = prediction_story.steps()
        entries = prediction_story.entries({**steps, "predict": steps["predict"].but(request_digest=requests)})
        assert find_prediction_faults(json.dumps(prediction_story.answer()).encode(), SUBJECT, entries, {}) == [what]
        assert what in find_prediction_faults(
            json.dumps({**silent, "request_digest": requests}).encode(), SUBJECT, entries, {}
        )


def test_an_answer_under_another_threshold_than_the_approved_is_named():
    """The API signed and journalled this threshold; two people approved another one."""
    output = prediction_story.answer(threshold="0.99")
    entries = prediction_story.entries({**prediction_story.steps(), "predict": prediction_story.predict(output)})
    faulty = find_prediction_faults(json.dumps(output).encode(), SUBJECT, entries, prediction_story.texts())
    assert faulty == [f"its threshold differs from that of '{prediction_story.release().name}'"]


def test_the_things_that_it_is_about_are_named_as_the_log_has_them():
    assert describe_row_tokens(SUBJECT, ENTRIES) == [
        f"according to the log, its row of 'claim_features' has the key '{prediction_story.TOKEN}'"
    ]
    assert describe_row_tokens("release:x", ENTRIES) == describe_row_tokens(SUBJECT, []) == []
    steps = prediction_story.steps()
    for odd in (None, [], {}, "x"):
        assert (
            describe_row_tokens(
                SUBJECT, prediction_story.entries({**steps, "predict": steps["predict"].but(views=odd)})
            )
            == []
        )
    hostile = prediction_story.entries(
        {**steps, "predict": steps["predict"].but(views={"\x1b": ["", 1, "\x1b[2J", 3], "a": 1})}
    )
    assert "".join(describe_row_tokens(SUBJECT, hostile)).isprintable()


def test_a_signature_by_another_key_is_reported():
    output = prediction_story.answer()
    text = answer_signature.signed_text(output)
    second = Key("x")
    own_copy = {"key_id": answer_signature.compute_key_id(second.public), "value": second.sign(text)}
    assert "and the log names another" in matches({**output, "signature": own_copy})[0]
    faked = {"key_id": answer_signature.compute_key_id(prediction_story.API.public), "value": second.sign(text)}
    assert matches({**output, "signature": faked}) == [
        "its signature is invalid: the prediction or the signature was changed"
    ]
    # A key entry under the right name with another public half convinces nobody.
    steps = prediction_story.steps()
    for public in (second.text, "", "AAAA="):
        entries = prediction_story.entries({**steps, "key": steps["key"].but(public_key=public)})
        assert find_prediction_faults(json.dumps({**output, "signature": faked}).encode(), SUBJECT, entries, {}) != []


def test_a_prediction_without_a_signature_is_reported():
    output = prediction_story.answer()
    assert matches({**output, "signature": None}) == ["it has no signature"]


def test_an_answer_of_another_story_is_named():
    assert matches(prediction_story.answer(id="p2")) == [
        f"it is the prediction 'p2', and the pack is about '{SUBJECT}'"
    ]
    assert "the pack is about 'drop:d0'" in matches(prediction_story.answer(), "drop:d0")[0]
    assert find_prediction_faults(json.dumps(prediction_story.answer()).encode(), SUBJECT, [], {}) == [
        "the pack has no entry of it"
    ]


def test_every_bit_of_a_prediction_and_its_signature_counts():
    content = json.dumps(prediction_story.answer()).encode()
    signature = content.index(b'"signature"')
    for bit in range(8 * signature, 8 * len(content)):
        assert find_prediction_faults(flipped(content, bit), SUBJECT, ENTRIES, prediction_story.texts()), bit
    for bit in random.Random(4).sample(range(8 * signature), 1000):
        assert find_prediction_faults(flipped(content, bit), SUBJECT, ENTRIES, prediction_story.texts()), bit


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_in_another_way(content: bytes):
    assert find_prediction_faults(content, SUBJECT, ENTRIES, prediction_story.texts())
