import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.builders.ledger import Killer, Ledger, LocalSigner
from tests.builders.recording_step import Died
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.audit import JournalEvidence, audit_ledger
from wellspring.trust.ledger.cosigner import CosignResponse
from wellspring.trust.ledger.index import parse_entry
from wellspring.trust.ledger.tree import ENTRIES_LEVEL, encode_bundle, partial_widths, tile_name
from wellspring_verify import merkle, notes

POINTS = [
    f"ledger.integrate:{item}"
    for item in ("bundles-written", "tiles-written", "signed", "cosigned", "checkpoint-swapped")
]


def placed(ledger: Ledger) -> list[str]:
    return [parse_entry(content).id for content in ledger.contents()]


def test_entries_of_all_journals_stand_in_the_tree_once_and_in_order(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(3, "enclave")
    ledger.write(2, "worker")
    first = ledger.sequencer.integrate()
    ledger.write(300, "enclave")
    second = ledger.sequencer.integrate()
    assert (first.size, second.size) == (5, 305)
    assert sorted(placed(ledger)) == sorted([*(f"enclave:{n}" for n in range(303)), "worker:0", "worker:1"])
    for service in ("enclave", "worker"):
        sequences = [int(item.partition(":")[2]) for item in placed(ledger) if item.startswith(service)]
        assert sequences == sorted(sequences)
    assert second.root == merkle.compute_root(merkle.hash_leaf(item) for item in ledger.contents())
    proof = ledger.tree.consistency_proof(5, 305)
    assert merkle.verify_consistency(5, 305, first.root, second.root, proof)
    assert audit_ledger(ledger.tree).findings == ()


def test_the_checkpoint_carries_the_logs_and_the_witness_s_signature(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(2)
    checkpoint = ledger.sequencer.integrate()
    assert ledger.tree.read_checkpoint() == checkpoint.note
    note = notes.parse_note(checkpoint.note)
    head = notes.parse_checkpoint(note.text)
    assert head == notes.CheckpointHead(ledger.origin, 2, checkpoint.root)
    log, witness = (
        notes.parse_verifier_key(ledger.sequencer.verifier_key()),
        notes.parse_verifier_key(ledger.witness.verifier_key()),
    )
    assert len(note.signatures) == 2
    assert notes.verify_signature_line(note.signatures[0], log, note.text)
    assert notes.verify_signature_line(note.signatures[1], witness, note.text)
    assert ledger.paths.read("vkey").decode().strip() == ledger.sequencer.verifier_key()


def test_nothing_new_changes_nothing(tmp_path: Path):
    ledger = Ledger(tmp_path)
    empty = ledger.sequencer.integrate()
    assert (empty.size, empty.root) == (0, merkle.EMPTY_ROOT)
    assert ledger.sequencer.integrate() == empty
    ledger.write(1)
    first = ledger.sequencer.integrate()
    assert first.size == 1
    ledger.clock.pass_(hours=1)
    assert ledger.sequencer.integrate() == first


@pytest.mark.parametrize("again", [0, 7])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_is_mended_by_the_next_run(tmp_path: Path, point: str, again: int):
    before = Ledger(tmp_path)
    before.write(100, "worker")
    before.sequencer.integrate()
    before.write(180, "enclave")
    before.close()
    killer = Killer(point)
    with pytest.raises(Died):
        Ledger(tmp_path, reached=killer).sequencer.integrate()
    # Lines that come between the crash and the next run are placed after those that were already placed.
    after = Ledger(tmp_path)
    after.write(again, "api")
    checkpoint = after.sequencer.integrate()
    after.write(3, "worker")
    last = after.sequencer.integrate()
    assert (checkpoint.size, last.size) == (280 + again, 283 + again)
    ids = placed(after)
    assert len(set(ids)) == len(ids) == 283 + again
    assert audit_ledger(after.tree, journals=JournalEvidence(after.journals), index=after.index).findings == ()
    assert after.index.last_sequence("enclave") == 179
    # Partial tiles whose full one stands are gone, whichever run wrote them.
    assert partial_widths(after.paths, ENTRIES_LEVEL, 0) == partial_widths(after.paths, 0, 0) == []


def test_the_crash_points_come_in_order(tmp_path: Path):
    killer = Killer()
    ledger = Ledger(tmp_path, reached=killer)
    ledger.write(1)
    ledger.sequencer.integrate()
    assert killer.passed == POINTS


def test_crash_after_crash_keeps_what_was_placed(tmp_path: Path):
    services = ["worker", "supervisor", "enclave", "api"]
    for round_ in range(4):
        ledger = Ledger(tmp_path, reached=Killer(POINTS[round_ % 2]))
        ledger.write(100, services[round_])
        with pytest.raises(Died):
            ledger.sequencer.integrate()
        ledger.close()
    ledger = Ledger(tmp_path)
    assert ledger.sequencer.integrate().size == 400
    assert [item.partition(":")[0] for item in placed(ledger)[::100]] == services
    assert audit_ledger(ledger.tree, journals=JournalEvidence(ledger.journals)).findings == ()


def test_a_checkpoint_is_never_published_without_the_witness(tmp_path: Path):
    class Away:
        def verifier_key(self) -> str:
            raise Unavailable("the witness does not answer", fix="")

        def add_key(self, note: bytes) -> CosignResponse:
            return CosignResponse(404, note)

        def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> CosignResponse:
            raise AssertionError

    ledger = Ledger(tmp_path)
    ledger.write(1)
    first = ledger.sequencer.integrate()
    ledger.write(1)
    ledger.close()
    with pytest.raises(Unavailable):
        Ledger(tmp_path, witness=Away()).sequencer.integrate()
    assert ledger.tree.read_checkpoint() == first.note
    assert Ledger(tmp_path).sequencer.integrate().size == 2


def test_a_signature_of_another_key_is_never_published(tmp_path: Path):
    class Confused(LocalSigner):
        def sign(self, message: bytes) -> bytes:
            return LocalSigner(b"\x08" * 32).sign(message)

    ledger = Ledger(tmp_path, signer=Confused())
    ledger.write(1)
    with pytest.raises(CorruptedError, match="does not match its own public key"):
        ledger.sequencer.integrate()
    assert ledger.tree.size == 0


# The line of an answer has no signature, which would also show a change.
@pytest.mark.parametrize(("service", "action"), [("worker", "stage"), ("api", "predict")])
def test_a_changed_journal_line_is_never_integrated(tmp_path: Path, service: str, action: str):
    ledger = Ledger(tmp_path)
    ledger.write(2, service, action=action)
    ledger.close()
    file = ledger.journals / service / "000000000000.log"
    lines = file.read_bytes().splitlines(keepends=True)
    for changed in (lines[1] + lines[0], lines[0] + lines[1].replace(b'"n":1', b'"n": 1'), lines[0] + b"{}\n"):
        file.write_bytes(changed)
        with pytest.raises(CorruptedError):
            ledger.sequencer.integrate()
    file.write_bytes(b"".join(lines))
    assert ledger.sequencer.integrate().size == 2


def test_a_journal_that_lost_its_end_is_named(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(2)
    ledger.sequencer.integrate()
    ledger.close()
    file = ledger.journals / "worker" / "000000000000.log"
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(CorruptedError, match="lacks entry 1"):
        ledger.sequencer.integrate()


def test_tiles_or_checkpoints_that_were_changed_are_never_built_upon(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(2)
    good = ledger.sequencer.integrate()
    ledger.write(1)
    ledger.paths.replace("checkpoint", good.note.replace(b"\n2\n", b"\n1\n"))
    with pytest.raises(CorruptedError, match="not signed by its own key"):
        ledger.sequencer.integrate()
    ledger.paths.replace("checkpoint", good.note)
    tile = ledger.paths.read("tile/0/000.p/2")
    ledger.paths.replace("tile/0/000.p/2", tile[::-1])
    with pytest.raises(CorruptedError, match="do not hash to its checkpoint"):
        ledger.sequencer.integrate()
    ledger.paths.replace("tile/0/000.p/2", tile)
    assert ledger.sequencer.integrate().size == 3


def rolled_back(folder: Path) -> Ledger:
    """A ledger whose owner put an older copy of it in place, journals and all; the witness has seen more."""
    ledger = Ledger(folder)
    ledger.write(5)
    ledger.sequencer.integrate()
    ledger.close()
    for part in ("ledger", "journals"):
        shutil.copytree(folder / part, folder / "copy" / part)
    ledger.write(5)
    ledger.sequencer.integrate()
    ledger.close()
    for part in ("ledger", "journals"):
        shutil.rmtree(folder / part)
        shutil.copytree(folder / "copy" / part, folder / part)
    return Ledger(folder)


@pytest.mark.parametrize(
    ("more", "what"), [(2, "the tail was cut, or rolled back"), (5, "forked"), (9, "forked or rewritten")]
)
def test_the_witness_catches_a_rollback_and_a_fork(tmp_path: Path, more: int, what: str):
    ledger = rolled_back(tmp_path)
    ledger.write(more, subject="drop:other")
    with pytest.raises(CorruptedError, match=f"the witness has another tree.*{what}"):
        ledger.sequencer.integrate()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (CosignResponse(404, b"who?\n"), Refused),
        (CosignResponse(200, b"nonsense"), Unavailable),
        (CosignResponse(200, b"\xe2\x80\x94 example.com/other AAAAAAA=\n"), Unavailable),
        (CosignResponse(409, b"nonsense"), CorruptedError),
    ],
)
def test_a_witness_that_answers_nonsense_leaves_the_old_checkpoint(
    tmp_path: Path, answer: CosignResponse, kind: type[Exception]
):
    class Odd:
        def verifier_key(self) -> str:
            return ledger.witness.verifier_key()

        def add_key(self, note: bytes) -> CosignResponse:
            return CosignResponse(404, note)

        def add_checkpoint(self, old: int, proof: Sequence[bytes], note: bytes) -> CosignResponse:
            return answer

    ledger = Ledger(tmp_path)
    ledger.write(1)
    first = ledger.sequencer.integrate()
    ledger.write(1)
    ledger.close()
    with pytest.raises(kind):
        Ledger(tmp_path, witness=Odd()).sequencer.integrate()
    assert ledger.tree.read_checkpoint() == first.note


def test_a_witness_that_was_rolled_back_is_named_and_a_new_one_is_welcome(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(3)
    ledger.sequencer.integrate()
    ledger.write(1)
    ledger.close()
    shutil.rmtree(tmp_path / "witness" / "checkpoints")
    with pytest.raises(CorruptedError, match="the witness was rolled back"):
        Ledger(tmp_path).sequencer.integrate()
    shutil.rmtree(tmp_path / "witness")
    assert Ledger(tmp_path).sequencer.integrate().size == 4


def test_a_forged_bundle_beyond_the_checkpoint_is_never_signed(tmp_path: Path):
    ledger = Ledger(tmp_path)
    ledger.write(2, "enclave")
    before = ledger.sequencer.integrate()
    ledger.write(1, "enclave")
    true = list(journal.read_lines(tmp_path / "journals", "enclave"))
    forged = parse_entry(true[2][1]).model_copy(update={"actor": "service:nobody"})
    entries = [content for _, content in true[:2]] + [journal.encode_entry(forged)]
    ledger.paths.write_once(tile_name(ENTRIES_LEVEL, 0, 3), encode_bundle(entries))
    with pytest.raises(CorruptedError, match="beyond the checkpoint has enclave:2"):
        ledger.sequencer.integrate()
    assert ledger.tree.read_checkpoint() == before.note
    ledger.close()
