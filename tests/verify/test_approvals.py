import base64

import pytest

from tests.builders.prediction_story import Key
from wellspring_verify import approvals
from wellspring_verify.canonical import MalformedError

INES = Key("ines")
NOTE = approvals.approval_text("denials", "ab12", "c" * 64)


def test_the_two_notes_are_exactly_these():
    assert NOTE == b"wellspring release v1\ndenials\nab12\n" + b"c" * 64 + b"\n"
    assert approvals.proposal_text("denials", "ab12", "cd") == b"wellspring proposal v1\ndenials\nab12\ncd\n"


def test_a_signature_holds_for_its_note_and_key_only():
    signature = INES.sign(NOTE)
    assert approvals.verify_note_signature(INES.text, signature, NOTE)
    assert not approvals.verify_note_signature(Key("omar").text, signature, NOTE)
    assert not approvals.verify_note_signature(
        INES.text, signature, approvals.proposal_text("denials", "ab12", "c" * 64)
    )


@pytest.mark.parametrize("error", ["", "a b", "a\nb", "é", "\x7f"])
def test_a_part_that_would_not_stand_on_its_line_is_refused(error: str):
    for parts in ((error, "ab", "cd"), ("m", error, "cd"), ("m", "ab", error)):
        with pytest.raises(MalformedError):
            approvals.approval_text(*parts)


def test_only_canonical_base64_of_the_right_length_is_read():
    signature = INES.sign(NOTE)
    last = signature.rstrip("=")[-1]
    # The last letter before the padding bears four bits that mean nothing: a lax reader takes 16 spellings for one.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    lax = signature.rstrip("=")[:-1] + alphabet[alphabet.index(last) ^ 1] + "=="
    assert base64.b64decode(lax) == base64.b64decode(signature)
    for error in (lax, signature + "\n", signature.rstrip("="), "", "vault:v1:" + signature, INES.text):
        with pytest.raises(MalformedError):
            approvals.verify_note_signature(INES.text, error, NOTE)
    with pytest.raises(MalformedError):
        approvals.verify_note_signature(signature, signature, NOTE)
