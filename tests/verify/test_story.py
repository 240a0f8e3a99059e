import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellspring_verify import story
from wellspring_verify.canonical import Malformed, dumps

ENTRY = {
    "v": 1, "tenant": "acme", "known_since": "2026-11-25T12:00:00.000000Z", "service": "enclave", "sequence": 4,
    "actor": "service:enclave", "action": "admit", "phase": "done", "subject": "drop:d", "intent": None,
    "trace": "0" * 32,
    "inputs": [{"name": "contract:c@1", "digest": "ab"}, {"name": "original:d", "digest": None}],
    "outputs": [{"name": "rows:d/0", "digest": "cd"}], "facts": {"received": 3, "admitted": 2},
}  # fmt: skip


def entry(**changed: object) -> story.Entry:
    return story.read(7, dumps({**ENTRY, **changed}))


def test_an_entry_is_read_whole():
    one = entry()
    assert (one.place, one.id, one.action) == (7, "enclave:4", "admit")
    assert one.inputs[0] == story.Ref("contract:c@1", "ab")
    assert story.contracts(one) == (story.Ref("contract:c@1", "ab"),)


@pytest.mark.parametrize("field", sorted(ENTRY))
def test_every_field_has_its_type_and_none_may_be_missing(field: str):
    good = {"intent": ("worker:1",), "facts": ({}, {"a": [1]}), "inputs": ([],), "outputs": ([],), "sequence": (0,)}
    wrongs: list[object] = [True, -1, [1], [{"name": 1, "digest": None}], [{"name": "x"}], [{"name": "x", "digest": 1}]]
    wrongs += [5] if field != "sequence" else ["5"]
    wrongs += [None] if field != "intent" else [{}]
    for right in good.get(field, ()):
        entry(**{field: right})
    for wrong in wrongs:
        with pytest.raises(Malformed):
            entry(**{field: wrong})
    less = {name: value for name, value in ENTRY.items() if name != field}
    with pytest.raises(Malformed):
        story.read(7, dumps(less))
    with pytest.raises(Malformed):
        entry(another=1)


def test_words_leave_out_what_is_not_known():
    assert story.says(entry()) == "held the rows against the contract: 3 received, 2 admitted as tokens"
    assert story.says(entry(facts={})) == "held the rows against the contract"
    assert story.says(entry(action="dance")) == "did dance"
    assert story.says(entry(phase="refused", facts={})).startswith("was refused: held")
    assert story.says(entry(phase="intent", action="publish")) == "set out to do this: switched readers to drop:d"


def test_words_from_elsewhere_are_never_taken_for_ours():
    """A file's name comes from a vendor: it ends no quotation, moves no cursor, fills no template."""
    hostile = "{subject}[x]\x1b[2J`\n# Heading\u202e"
    one = entry(action="land", facts={"name": hostile})
    assert "{subject}[x]\\u001b[2J\\u0060\\u000a# Heading\\u202e" in story.says(one)
    page = story.story_md(hostile, [one]).decode()
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\n# Heading" not in page


@given(
    st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=9)), st.data()
)
def test_no_facts_make_it_fail(facts: dict[str, object], data: st.DataObject):
    try:
        one = entry(facts=facts, action=data.draw(st.sampled_from(["land", "admit", "publish", "other"])))
    except Malformed:
        return
    assert json.loads(story.story_json("drop:d", [one]))["facts"][0]["facts"] == facts
    assert story.story_md("drop:d", [one]) == story.story_md("drop:d", [one])


def test_the_words_of_version_1_never_change():
    """Packs of years ago are told again by the verifier of today: other words need another version."""
    actions = ["admit", "alert", "finding", "land", "publish", "repair", "retain", "settle", "stage", "other"]
    facts = {name: name.upper() for name in (
        "admitted", "code", "contract", "discarded", "level", "masked", "name", "outcome", "owner", "parent", "part",
        "quarantined", "quarantined_rows", "received", "retention_until", "size", "what", "codes",
    )}  # fmt: skip
    told = [entry(action=action, facts=some) for action in actions for some in ({}, facts)]
    told += [entry(phase=phase) for phase in ("intent", "failed", "refused")]
    digests = [hashlib.sha256(write("drop:d", told)).hexdigest()[:16] for write in (story.story_json, story.story_md)]
    assert digests == ["cd8d95d36d47cfad", "b5c2746370468841"]
