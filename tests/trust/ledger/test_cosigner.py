import shutil
import stat
import threading
from pathlib import Path

import pytest

from tests.steps import FixedClock
from tests.trust.ledger.ledgers import LocalSigner
from tests.verify.test_merkle import subproof
from wellspring.errors import Broken, Refused
from wellspring.trust.ledger.cosigner import Answer, Witness, logs, register, seen
from wellspring_verify import merkle, notes

LEAVES = [merkle.leaf(bytes([n])) for n in range(40)]
OTHERS = [*LEAVES[:5], *(merkle.leaf(bytes([n, n])) for n in range(35))]
ORIGIN = "wellspring.example.com/health_plan/0123abcd"
SIGNER = LocalSigner()
LOG = notes.Key(ORIGIN, notes.LOG, SIGNER.public_key())


def checkpoint(leaves: list[bytes], *, origin: str = ORIGIN, signer: LocalSigner = SIGNER) -> bytes:
    head = notes.Head(origin, len(leaves), merkle.root(leaves))
    key = notes.Key(origin, notes.LOG, signer.public_key())
    return head.text() + b"\n" + notes.Signature(origin, key.id, signer.sign(head.text())).line()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    one = Witness(tmp_path / "witness", clock=FixedClock())
    one.register(str(LOG))
    return one


def advance(witness: Witness, size: int, leaves: list[bytes] = LEAVES) -> Answer:
    latest = witness.latest(LOG)
    old = notes.parse_head(notes.parse(latest).text).size if latest else 0
    return witness.add_checkpoint(old, subproof(old, leaves[:size]) if old else [], checkpoint(leaves[:size]))


def test_it_cosigns_what_continues_and_keeps_a_copy(witness: Witness):
    key = notes.parse_key(witness.vkey())
    for size in (0, 3, 3, 17, 40):
        answer = advance(witness, size)
        assert answer.status == 200
        note = notes.parse(checkpoint(LEAVES[:size]))
        assert notes.signs(notes.parse_line(answer.body.decode()[:-1]), key, note.text)
        kept = witness.latest(LOG)
        assert kept == checkpoint(LEAVES[:size]) + answer.body


def test_the_time_is_the_witness_s_own(tmp_path: Path):
    clock = FixedClock()
    witness = Witness(tmp_path, clock=clock)
    witness.register(str(LOG))
    line = notes.parse_line(advance(witness, 3).body.decode()[:-1])
    assert int.from_bytes(line.blob[:8], "big") == int(clock.now().timestamp())


def test_it_answers_as_the_specification_says(witness: Witness):
    assert witness.add_checkpoint(0, [], b"nonsense").status == 400
    assert witness.add_checkpoint(4, [], checkpoint(LEAVES[:3])).status == 400
    assert witness.add_checkpoint(0, [], checkpoint(LEAVES[:3], origin="example.com/other")).status == 404
    assert witness.add_checkpoint(0, [], checkpoint(LEAVES[:3], signer=LocalSigner(b"\x09" * 32))).status == 403
    assert witness.add_checkpoint(0, [LEAVES[0]], checkpoint(LEAVES[:3])).status == 422
    assert advance(witness, 5).status == 200
    assert witness.add_checkpoint(3, [], checkpoint(LEAVES[:9])) == Answer(409, b"5\n")
    assert witness.add_checkpoint(5, [LEAVES[0]], checkpoint(LEAVES[:9])).status == 422
    assert notes.parse_head(notes.parse(witness.latest(LOG) or b"").text).size == 5


def test_it_never_cosigns_a_cut_tail_a_fork_or_a_rollback(witness: Witness):
    assert advance(witness, 20).status == 200
    kept = witness.latest(LOG)
    # The tail is cut: the same log, shorter.
    for old in (0, 5, 12):
        assert witness.add_checkpoint(old, [], checkpoint(LEAVES[:12])) == Answer(409, b"20\n")
    assert witness.add_checkpoint(20, [], checkpoint(LEAVES[:12])).status == 400
    # A fork: another log of the same size, or one that grows from another past.
    assert witness.add_checkpoint(20, [], checkpoint(OTHERS[:20])) == Answer(409, b"20\n")
    assert advance(witness, 30, OTHERS).status == 422
    # A rollback to the beginning.
    assert witness.add_checkpoint(0, [], checkpoint(OTHERS[:30])) == Answer(409, b"20\n")
    assert witness.latest(LOG) == kept


def test_of_two_forks_that_race_only_one_is_cosigned(tmp_path: Path):
    for round_ in range(15):
        folder = tmp_path / str(round_)
        Witness(folder, clock=FixedClock()).register(str(LOG))
        # Each as its own process would: nothing is shared but the folder.
        witnesses = [Witness(folder, clock=FixedClock()) for _ in range(6)]
        notes_ = [checkpoint(LEAVES[:9]), checkpoint(OTHERS[:9])] * 3
        start = threading.Barrier(6)
        answers: list[tuple[int, bytes]] = []

        def ask(
            witness: Witness, note: bytes, start: threading.Barrier = start, answers: list[tuple[int, bytes]] = answers
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


def test_its_key_is_its_own_and_for_nobody_else(tmp_path: Path):
    first = Witness(tmp_path / "a", clock=FixedClock())
    assert stat.S_IMODE((tmp_path / "a" / "key").stat().st_mode) == 0o600
    assert Witness(tmp_path / "a", clock=FixedClock()).vkey() == first.vkey()
    assert Witness(tmp_path / "b", clock=FixedClock()).vkey() != first.vkey()
    key = notes.parse_key(first.vkey())
    assert key.kind == notes.WITNESS
    assert key.name == f"wellspring.example.com/witness/{key.public.hex()[:8]}"
    (tmp_path / "a" / "key").write_bytes(b"short")
    with pytest.raises(Broken):
        Witness(tmp_path / "a", clock=FixedClock())


def test_the_first_key_of_a_log_stays(witness: Witness, tmp_path: Path):
    witness.register(str(LOG))
    other = notes.Key(ORIGIN, notes.LOG, LocalSigner(b"\x09" * 32).public_key())
    with pytest.raises(Refused, match="with another key"):
        register(tmp_path / "witness", str(other))
    with pytest.raises(Refused, match="no verifier key"):
        register(tmp_path / "witness", "nonsense")
    with pytest.raises(Refused, match="no verifier key"):
        register(tmp_path / "witness", witness.vkey())
    assert logs(tmp_path / "witness") == [LOG]
    (tmp_path / "witness" / "logs" / "x.vkey").write_text("nonsense")
    with pytest.raises(Broken):
        logs(tmp_path / "witness")


def test_a_witness_that_has_seen_nothing_says_so(tmp_path: Path):
    assert seen(tmp_path, LOG) is None
    assert logs(tmp_path) == []
    Witness(tmp_path, clock=FixedClock())
    shutil.rmtree(tmp_path / "seen")
    assert seen(tmp_path, LOG) is None
