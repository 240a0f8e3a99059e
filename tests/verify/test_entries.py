import pytest

from tests.builders.verifier_entries import ENTRY, entry
from wellspring_verify.canonical import MalformedError, dumps_canonical
from wellspring_verify.entries import (
    ACTION_WRITERS,
    EntryBook,
    PackEntry,
    PackRef,
    fact_text,
    parse_entry,
    refs_of_kind,
    user_of,
)


def test_an_entry_is_read_whole():
    item = entry()
    assert (item.tree_index, item.id, item.action) == (7, "enclave:4", "admit")
    assert item.inputs[0] == PackRef("contract:c@1", "ab")
    assert (item.intent, entry(intent="enclave:3").intent) == (None, "enclave:3")


@pytest.mark.parametrize("field", sorted(ENTRY))
def test_every_field_has_its_type_and_none_may_be_missing(field: str):
    good = {"intent": ("worker:1",), "facts": ({}, {"a": [1]}), "inputs": ([],), "outputs": ([],), "sequence": (0,)}
    wrongs: list[object] = [True, -1, [1], [{"name": 1, "digest": None}], [{"name": "x"}], [{"name": "x", "digest": 1}]]
    wrongs += [5] if field != "sequence" else ["5"]
    wrongs += [None] if field != "intent" else [{}]
    for right in good.get(field, ()):
        entry(**{field: right})
    for error in wrongs:
        with pytest.raises(MalformedError):
            entry(**{field: error})
    less = {name: value for name, value in ENTRY.items() if name != field}
    with pytest.raises(MalformedError):
        parse_entry(7, dumps_canonical(less))
    with pytest.raises(MalformedError):
        entry(another=1)


def result(place: int, **changed: object) -> PackEntry:
    """Read one entry that stands at a place of the tree."""
    return parse_entry(place, dumps_canonical({**ENTRY, "sequence": place, **changed}))


def test_what_settles_an_intent_says_again_what_that_one_said():
    ref = {"name": "edition:e", "digest": "ee"}
    intent = result(
        3,
        service="worker",
        action="publish",
        phase="intent",
        inputs=[],
        outputs=[ref],
        facts={"level": "built", "n": 1},
    )
    end = result(9, service="worker", action="publish", intent="worker:3", inputs=[], outputs=[], facts={"n": 2})
    second = result(5, service="worker", action="publish", subject="drop:x", intent="worker:3", outputs=[], facts={})
    book = EntryBook([end, intent, second])
    whole = book.completed("publish", "drop:d")[0]
    assert (whole.outputs, whole.facts) == ((PackRef("edition:e", "ee"),), {"level": "built", "n": 2})
    assert (book.effective_from(end), book.effective_from(result(8))) == (3, 8)
    assert [item.tree_index for item in book.completed("publish")] == [5, 9]
    # Of something else it settles nothing: it neither says the same, nor began with it.
    assert (book.completed("publish", "drop:x")[0].outputs, book.effective_from(second)) == ((), 5)
    assert book.completed("train") == []


@pytest.mark.parametrize(("action", "writer"), ACTION_WRITERS.items())
def test_only_the_writer_of_an_action_counts(action: str, writer: str):
    for service in ("supervisor", "api", "worker", "enclave", "keys"):
        book = EntryBook([result(1, action=action, service=service)])
        assert (len(book.completed(action)), len(book.reported(action))) == ((1, 1) if service == writer else (0, 0))


def test_an_intent_of_another_service_begins_nothing():
    intent = result(3, service="api", action="promote", phase="intent", facts={"model": "m"})
    end = result(9, service="worker", action="promote", intent="api:3", facts={})
    book = EntryBook([intent, end])
    assert (book.effective_from(end), book.completed("promote")[0].facts) == (9, {})


def test_only_what_came_to_its_end_is_done():
    book = EntryBook([result(1, phase=phase) for phase in ("intent", "failed", "refused")])
    assert book.completed("admit") == []


def test_facts_and_things_are_found_by_name():
    item = result(1, facts={"user": "user:ines", "n": 3})
    assert (user_of(item), fact_text(item, "n"), fact_text(item, "none")) == ("ines", "", "")
    assert refs_of_kind(item.inputs, "contract") == [PackRef("contract:c@1", "ab")]
    assert refs_of_kind(item.inputs, "contra") == []
