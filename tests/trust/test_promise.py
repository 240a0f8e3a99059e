"""A key is known before it promises anything, holds a day, and is renewed before it ends."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta

import pytest

from tests.steps import RecordingStep
from wellspring.errors import NotFound, Unavailable
from wellspring.trust.promise import Promises
from wellspring_verify import promise

ANSWER = {"id": "p1", "score": 0.25, "reasons": [{"feature": "a", "push": -0.5}], "promise": None}


def test_the_public_half_is_in_the_ledger_before_the_key_is_handed_out():
    step = RecordingStep()
    promises = Promises(step=step, clock=step.clock)
    key = promises.key()
    (entry,) = step.done("key")
    assert entry.subject == f"key:{key.id}"
    public = base64.b64decode(str(entry.facts["public"]))
    assert promise.key_id(public) == key.id
    assert entry.facts["expires"] == "2026-11-26T12:00:00.000000Z"
    assert promises.key() is key
    assert promises.public(key.id).public == public
    with pytest.raises(NotFound):
        promises.public("0" * 16)


def test_a_promise_holds_for_the_answer_and_no_other():
    step = RecordingStep()
    promises = Promises(step=step, clock=step.clock)
    key = promises.key()
    made = key.promise(promise.text(ANSWER))
    assert made.key == key.id
    signature = base64.b64decode(made.signature)
    public = promises.public(key.id).public
    assert promise.holds(public, signature, promise.text({**ANSWER, "promise": made.model_dump()}))
    assert not promise.holds(public, signature, promise.text({**ANSWER, "score": 0.26}))


def test_a_key_that_cannot_be_journalled_promises_nothing():
    class Full(RecordingStep):
        def write(self, *_: object, **__: object):
            raise Unavailable("the disk is full", fix="free it")

    promises = Promises(step=Full(), clock=RecordingStep().clock)
    for _ in range(2):
        with pytest.raises(Unavailable):
            promises.key()


def test_a_key_is_renewed_an_hour_before_it_ends_and_the_old_one_can_still_be_checked():
    step = RecordingStep()
    promises = Promises(step=step, clock=step.clock)
    first = promises.key()
    assert step.clock.now()
    step.clock.pass_(hours=22, minutes=59)  # type: ignore[attr-defined]
    assert promises.key() is first
    step.clock.pass_(minutes=2)  # type: ignore[attr-defined]
    second = promises.key()
    assert second.id != first.id
    assert promises.public(first.id).expires - promises.public(second.id).expires == -timedelta(hours=23, minutes=1)
    assert len(step.done("key")) == 2


def test_a_clock_that_went_back_makes_a_new_key():
    step = RecordingStep()
    promises = Promises(step=step, clock=step.clock)
    first = promises.key()
    step.clock.pass_(hours=-1)  # type: ignore[attr-defined]
    assert promises.key().id != first.id


def test_threads_that_ask_at_once_share_one_key():
    step = RecordingStep()
    promises = Promises(step=step, clock=step.clock)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(promises.key().id)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(found)) == 1
    assert len(step.done("key")) == 1
