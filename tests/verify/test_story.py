import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from tests.builders.verifier_entries import entry
from wellspring_verify import story
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entries import PackRef


def test_contract_refs_are_the_contracts_among_the_inputs():
    assert story.contract_refs(entry()) == (PackRef("contract:c@1", "ab"),)


def test_words_leave_out_what_is_not_known():
    assert story.describe_entry(entry()) == "validated the rows against the contract: 3 received, 2 admitted as tokens"
    assert story.describe_entry(entry(facts={})) == "validated the rows against the contract"
    assert story.describe_entry(entry(action="dance")) == "recorded dance"
    assert story.describe_entry(entry(phase="refused", facts={})).startswith("was refused this action: validated")
    assert (
        story.describe_entry(entry(phase="intent", action="publish"))
        == "started this action: switched readers to drop:d"
    )


def test_words_from_elsewhere_are_never_taken_for_ours():
    """A file's name comes from a vendor: it ends no quotation, moves no cursor, fills no template."""
    hostile = "{subject}[x]\x1b[2J`\n# Heading\u202e"
    item = entry(action="land", facts={"name": hostile})
    assert "{subject}[x]\\u001b[2J\\u0060\\u000a# Heading\\u202e" in story.describe_entry(item)
    page = story.render_story_page(hostile, [item]).decode()
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\n# Heading" not in page


@given(
    st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=9)), st.data()
)
def test_no_facts_make_it_fail(facts: dict[str, object], data: st.DataObject):
    try:
        item = entry(facts=facts, action=data.draw(st.sampled_from(["land", "admit", "publish", "other"])))
    except MalformedError:
        return
    assert json.loads(story.render_story_json("drop:d", [item]))["entries"][0]["facts"] == facts
    assert story.render_story_page("drop:d", [item]) == story.render_story_page("drop:d", [item])


def test_the_texts_of_version_1_never_change():
    """Packs of years ago are told again by the verifier of today: other words need another version."""
    actions = ["admit", "alert", "finding", "land", "publish", "repair", "expire", "settle", "stage", "other"]
    facts = {name: name.upper() for name in (
        "admitted", "code", "contract", "discarded", "level", "masked", "name", "outcome", "owner", "parent",
        "replay_number",
        "quarantined", "quarantined_rows", "received", "retention_until", "size", "message", "codes",
    )}  # fmt: skip
    result = [entry(action=action, facts=some) for action in actions for some in ({}, facts)]
    result += [entry(phase=phase) for phase in ("intent", "failed", "refused")]
    digests = [
        hashlib.sha256(write("drop:d", result)).hexdigest()[:16]
        for write in (story.render_story_json, story.render_story_page)
    ]
    assert digests == ["bd1c4d29c12c5aea", "55f993e2cac2e940"]


def test_the_texts_of_model_actions_never_change():
    """What was added for models is told again as it was, too."""
    actions = [
        "materialize", "train", "gate", "enroll", "propose", "approve", "check", "promote", "rollback", "serve",
        "create_key",
        "predict",
    ]  # fmt: skip
    facts = {name: name.upper() for name in (
        "rows", "outcome", "reasons", "roles", "principal", "public_key", "user", "key_id", "model",
        "previous_release", "expires_at",
        "decision", "freshness", "train_rows", "test_rows",
    )}  # fmt: skip
    some = ({}, facts, {**facts, "previous_release": "", "score": (0.75).hex()})
    result = [entry(action=action, facts=item) for action in actions for item in some]
    digests = [
        hashlib.sha256(write("drop:d", result)).hexdigest()[:16]
        for write in (story.render_story_json, story.render_story_page)
    ]
    assert digests == ["8898bfa80eb8145c", "addc927d6acf2087"]
