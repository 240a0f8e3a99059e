from __future__ import annotations

import pytest

from tests.builders.checkpoints import LOG, ORIGIN, SIGNER
from tests.builders.ledger import LocalSigner
from wellspring_verify import log_keys, notes
from wellspring_verify.canonical import MalformedError

SECOND, THIRD = LocalSigner(b"\x08" * 32), LocalSigner(b"\x09" * 32)


def key_of(signer: LocalSigner, origin: str = ORIGIN) -> notes.VerifierKey:
    return notes.VerifierKey(origin, notes.KIND_LOG, signer.public_key())


def succession(size: int, key: notes.VerifierKey, *signers: LocalSigner, origin: str = ORIGIN) -> bytes:
    text = log_keys.succession_text(origin, size, key)
    lines = [notes.NoteSignature(ORIGIN, key_of(signer).key_id, signer.sign(text)).to_line() for signer in signers]
    return text + b"\n" + b"".join(lines)


FIRST_NOTE = succession(7, key_of(SECOND), SIGNER, SECOND)
SECOND_NOTE = succession(20, key_of(THIRD), SECOND, THIRD)


def test_each_key_signs_for_its_own_sizes():
    successions = log_keys.parse_successions(LOG, log_keys.encode_successions((FIRST_NOTE, SECOND_NOTE)))
    sizes = {size: log_keys.find_key(LOG, successions, size) for size in (1, 7, 8, 20, 21, 1000)}
    assert sizes == {
        1: LOG, 7: LOG, 8: key_of(SECOND), 20: key_of(SECOND), 21: key_of(THIRD), 1000: key_of(THIRD),
    }  # fmt: skip


@pytest.mark.parametrize("data", [None, b""])
def test_a_log_with_its_first_key_has_no_succession(data: bytes | None):
    assert log_keys.parse_successions(LOG, data) == ()


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(succession(7, key_of(SECOND), SECOND), id="without the former key"),
        pytest.param(succession(7, key_of(SECOND), SIGNER), id="without the new key"),
        pytest.param(succession(7, key_of(SECOND), THIRD, SECOND), id="signed by another key"),
        pytest.param(succession(7, LOG, SIGNER), id="of the same key"),
        pytest.param(succession(7, key_of(SECOND, "example.com/b"), SIGNER, SECOND), id="to another log"),
        pytest.param(succession(7, key_of(SECOND), SIGNER, SECOND, origin="example.com/b"), id="of another log"),
        pytest.param(FIRST_NOTE.replace(b"\n7\n", b"\n8\n"), id="another size"),
        pytest.param(FIRST_NOTE.replace(b"\n7\n", b"\n07\n"), id="a size with a zero"),
        pytest.param(b"nonsense", id="no note"),
    ],
)
def test_a_key_that_the_former_one_did_not_sign_in_is_malformed(note: bytes):
    with pytest.raises(MalformedError):
        log_keys.parse_successions(LOG, log_keys.encode_successions((note,)))


def test_successions_are_in_the_order_of_sizes():
    earlier = succession(5, key_of(THIRD), SECOND, THIRD)
    with pytest.raises(MalformedError, match="smaller size"):
        log_keys.parse_successions(LOG, log_keys.encode_successions((FIRST_NOTE, earlier)))


@pytest.mark.parametrize("data", [b"{}", b"[1]", b"not JSON"])
def test_another_form_is_malformed(data: bytes):
    with pytest.raises(MalformedError):
        log_keys.parse_successions(LOG, data)
