"""A key is known before it promises anything, holds a day, and is renewed before it ends."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta

import pytest

from tests.builders.recording_step import RecordingStep
from wellspring.errors import NotFound, Unavailable
from wellspring.trust.answer_signing import AnswerSigner
from wellspring_verify import answer_signature

ANSWER = {"id": "p1", "score": 0.25, "reasons": [{"feature": "a", "contribution": -0.5}], "signature": None}


def test_the_public_key_is_in_the_ledger_before_the_key_is_returned():
    step = RecordingStep()
    contracts = AnswerSigner(step=step, clock=step.clock)
    key = contracts.current_key()
    (entry,) = step.done("create_key")
    assert entry.subject == f"key:{key.key_id}"
    public = base64.b64decode(str(entry.facts["public_key"]))
    assert answer_signature.compute_key_id(public) == key.key_id
    assert entry.facts["expires_at"] == "2026-11-26T12:00:00.000000Z"
    assert contracts.current_key() is key
    assert contracts.public_key(key.key_id).public_bytes == public
    with pytest.raises(NotFound):
        contracts.public_key("0" * 16)


def test_a_signature_is_valid_only_for_its_prediction():
    step = RecordingStep()
    contracts = AnswerSigner(step=step, clock=step.clock)
    key = contracts.current_key()
    built = key.sign_answer(answer_signature.signed_text(ANSWER))
    assert built.key_id == key.key_id
    signature = base64.b64decode(built.value)
    public = contracts.public_key(key.key_id).public_bytes
    assert answer_signature.verify_signature(
        public, signature, answer_signature.signed_text({**ANSWER, "signature": built.model_dump()})
    )
    assert not answer_signature.verify_signature(
        public, signature, answer_signature.signed_text({**ANSWER, "score": 0.26})
    )


def test_a_key_that_cannot_be_journaled_signs_nothing():
    class Full(RecordingStep):
        def write(self, *_: object, **__: object):
            raise Unavailable("the disk is full", fix="free it")

    contracts = AnswerSigner(step=Full(), clock=RecordingStep().clock)
    for _ in range(2):
        with pytest.raises(Unavailable):
            contracts.current_key()


def test_a_key_is_renewed_an_hour_before_it_ends_and_the_old_one_can_still_be_checked():
    step = RecordingStep()
    contracts = AnswerSigner(step=step, clock=step.clock)
    first = contracts.current_key()
    assert step.clock.now()
    step.clock.pass_(hours=22, minutes=59)  # type: ignore[attr-defined]
    assert contracts.current_key() is first
    step.clock.pass_(minutes=2)  # type: ignore[attr-defined]
    second = contracts.current_key()
    assert second.key_id != first.key_id
    assert contracts.public_key(first.key_id).expires_at - contracts.public_key(second.key_id).expires_at == -timedelta(
        hours=23, minutes=1
    )
    assert len(step.done("create_key")) == 2


def test_a_clock_that_went_back_makes_a_new_key():
    step = RecordingStep()
    contracts = AnswerSigner(step=step, clock=step.clock)
    first = contracts.current_key()
    step.clock.pass_(hours=-1)  # type: ignore[attr-defined]
    assert contracts.current_key().key_id != first.key_id


def test_threads_that_ask_at_once_share_one_key():
    step = RecordingStep()
    contracts = AnswerSigner(step=step, clock=step.clock)
    matches: list[str] = []
    threads = [threading.Thread(target=lambda: matches.append(contracts.current_key().key_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(matches)) == 1
    assert len(step.done("create_key")) == 1
