import shutil
import stat
import threading
from pathlib import Path

import pytest

from tests.builders.checkpoints import LEAVES, LOG, ORIGIN, checkpoint
from tests.builders.ledger import LocalSigner
from tests.builders.merkle import subproof
from tests.builders.recording_step import FixedClock
from wellspring.errors import CorruptedError, Refused
from wellspring.trust.ledger.cosigner import (
    CosignResponse,
    LocalWitness,
    last_checkpoint,
    register_log,
    registered_logs,
)
from wellspring_verify import merkle, notes

REST = [*LEAVES[:5], *(merkle.hash_leaf(bytes([n, n])) for n in range(35))]


@pytest.fixture
def witness(tmp_path: Path) -> LocalWitness:
    item = LocalWitness(tmp_path / "witness", clock=FixedClock())
    item.register_log(str(LOG))
    return item


def advance(witness: LocalWitness, size: int, leaves: list[bytes] = LEAVES) -> CosignResponse:
    latest = witness.latest_checkpoint(LOG)
    old = notes.parse_checkpoint(notes.parse_note(latest).text).size if latest else 0
    return witness.add_checkpoint(old, subproof(old, leaves[:size]) if old else [], checkpoint(leaves[:size]))


def test_it_cosigns_what_continues_and_keeps_a_copy(witness: LocalWitness):
    key = notes.parse_verifier_key(witness.verifier_key())
    for size in (0, 3, 3, 17, 40):
        answer = advance(witness, size)
        assert answer.status == 200
        note = notes.parse_note(checkpoint(LEAVES[:size]))
        assert notes.verify_signature_line(notes.parse_signature_line(answer.body.decode()[:-1]), key, note.text)
        stored = witness.latest_checkpoint(LOG)
        assert stored == checkpoint(LEAVES[:size]) + answer.body


def test_the_time_is_the_witness_s_own(tmp_path: Path):
    clock = FixedClock()
    witness = LocalWitness(tmp_path, clock=clock)
    witness.register_log(str(LOG))
    line = notes.parse_signature_line(advance(witness, 3).body.decode()[:-1])
    assert int.from_bytes(line.blob[:8], "big") == int(clock.now().timestamp())


def test_add_checkpoint_status_codes_follow_the_specification(witness: LocalWitness):
    assert witness.add_checkpoint(0, [], b"nonsense").status == 400
    assert witness.add_checkpoint(4, [], checkpoint(LEAVES[:3])).status == 400
    assert witness.add_checkpoint(0, [], checkpoint(LEAVES[:3], origin="example.com/other")).status == 404
    assert witness.add_checkpoint(0, [], checkpoint(LEAVES[:3], signer=LocalSigner(b"\x09" * 32))).status == 403
    assert witness.add_checkpoint(0, [LEAVES[0]], checkpoint(LEAVES[:3])).status == 422
    assert advance(witness, 5).status == 200
    assert witness.add_checkpoint(3, [], checkpoint(LEAVES[:9])) == CosignResponse(409, b"5\n")
    assert witness.add_checkpoint(5, [LEAVES[0]], checkpoint(LEAVES[:9])).status == 422
    assert notes.parse_checkpoint(notes.parse_note(witness.latest_checkpoint(LOG) or b"").text).size == 5


def test_it_never_cosigns_a_cut_tail_a_fork_or_a_rollback(witness: LocalWitness):
    assert advance(witness, 20).status == 200
    stored = witness.latest_checkpoint(LOG)
    # The tail is cut: the same log, shorter.
    for old in (0, 5, 12):
        assert witness.add_checkpoint(old, [], checkpoint(LEAVES[:12])) == CosignResponse(409, b"20\n")
    assert witness.add_checkpoint(20, [], checkpoint(LEAVES[:12])).status == 400
    # A fork: another log of the same size, or one that grows from another past.
    assert witness.add_checkpoint(20, [], checkpoint(REST[:20])) == CosignResponse(409, b"20\n")
    assert advance(witness, 30, REST).status == 422
    # A rollback to the beginning.
    assert witness.add_checkpoint(0, [], checkpoint(REST[:30])) == CosignResponse(409, b"20\n")
    assert witness.latest_checkpoint(LOG) == stored


def test_of_two_forks_that_race_only_one_is_cosigned(tmp_path: Path):
    for round_ in range(15):
        folder = tmp_path / str(round_)
        LocalWitness(folder, clock=FixedClock()).register_log(str(LOG))
        # Each as its own process would: nothing is shared but the folder.
        witnesses = [LocalWitness(folder, clock=FixedClock()) for _ in range(6)]
        notes_ = [checkpoint(LEAVES[:9]), checkpoint(REST[:9])] * 3
        start = threading.Barrier(6)
        answers: list[tuple[int, bytes]] = []

        def ask(
            witness: LocalWitness,
            note: bytes,
            start: threading.Barrier = start,
            answers: list[tuple[int, bytes]] = answers,
        ):
            start.wait()
            answers.append((witness.add_checkpoint(0, [], note).status, note))

        threads = [threading.Thread(target=ask, args=pair) for pair in zip(witnesses, notes_, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({note for status, note in answers if status == 200}) == 1
        assert {status for status, _ in answers} == {200, 409}


def test_witness_key_is_private_stable_and_unique(tmp_path: Path):
    first = LocalWitness(tmp_path / "a", clock=FixedClock())
    assert stat.S_IMODE((tmp_path / "a" / "key").stat().st_mode) == 0o600
    assert LocalWitness(tmp_path / "a", clock=FixedClock()).verifier_key() == first.verifier_key()
    assert LocalWitness(tmp_path / "b", clock=FixedClock()).verifier_key() != first.verifier_key()
    key = notes.parse_verifier_key(first.verifier_key())
    assert key.kind == notes.KIND_WITNESS
    assert key.name == f"wellspring.example.com/witness/{key.public_key.hex()[:8]}"
    (tmp_path / "a" / "key").write_bytes(b"short")
    with pytest.raises(CorruptedError):
        LocalWitness(tmp_path / "a", clock=FixedClock())


def test_the_first_key_of_a_log_stays(witness: LocalWitness, tmp_path: Path):
    witness.register_log(str(LOG))
    second = notes.VerifierKey(ORIGIN, notes.KIND_LOG, LocalSigner(b"\x09" * 32).public_key())
    with pytest.raises(Refused, match="has another key of the log"):
        register_log(tmp_path / "witness", str(second))
    with pytest.raises(Refused, match="not the verifier key of a log"):
        register_log(tmp_path / "witness", "nonsense")
    with pytest.raises(Refused, match="not the verifier key of a log"):
        register_log(tmp_path / "witness", witness.verifier_key())
    assert registered_logs(tmp_path / "witness") == [LOG]
    (tmp_path / "witness" / "logs" / "x.vkey").write_text("nonsense")
    with pytest.raises(CorruptedError):
        registered_logs(tmp_path / "witness")


def test_a_witness_that_has_seen_nothing_says_so(tmp_path: Path):
    assert last_checkpoint(tmp_path, LOG) is None
    assert registered_logs(tmp_path) == []
    LocalWitness(tmp_path, clock=FixedClock())
    shutil.rmtree(tmp_path / "checkpoints")
    assert last_checkpoint(tmp_path, LOG) is None
