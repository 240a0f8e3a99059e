import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from wellspring_verify import notes
from wellspring_verify.canonical import MalformedError

# The vector that C2SP's signed-note specification publishes.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
TEXT = b"This is an example message.\n"
SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
NOTE = TEXT + f"\n\u2014 example.com/foo {SIGNATURE}\n".encode()


def test_the_published_vector_verifies():
    key = notes.parse_verifier_key(VKEY)
    assert str(key) == VKEY
    note = notes.parse_note(NOTE)
    assert note.text == TEXT
    assert note.text + b"\n" + note.signatures[0].to_line() == NOTE
    assert notes.verify_signature_line(note.signatures[0], key, note.text)
    assert not notes.verify_signature_line(note.signatures[0], key, b"Another message.\n")


def test_every_bit_of_the_signature_line_counts():
    key = notes.parse_verifier_key(VKEY)
    start = len(TEXT) + 1
    for bit in range(8 * start, 8 * len(NOTE)):
        flipped = bytearray(NOTE)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            note = notes.parse_note(bytes(flipped))
        except MalformedError:
            continue
        assert note.text == TEXT
        assert not any(notes.verify_signature_line(item, key, note.text) for item in note.signatures), bit


@pytest.mark.parametrize(
    "error",
    [
        b"", b"text\n", b"text\n\n", b"text\n\n\xe2\x80\x94 name\n", NOTE[:-1], NOTE.replace(b"\n\n", b"\n"),
        NOTE.replace(b"This", b"Th\tis"), NOTE.replace(b"This", b"\xff"), NOTE.replace(b"M=\n", b"N=\n"),
        NOTE.replace(b"M=\n", b"M\n"), NOTE.replace(b"/foo", b"/f+o"), NOTE.replace(b"/foo ", b"/foo  "),
        NOTE + NOTE.splitlines(keepends=True)[-1] * 100,
    ],
)  # fmt: skip
def test_a_note_has_one_spelling(error: bytes):
    with pytest.raises(MalformedError):
        notes.parse_note(error)


def test_the_text_ends_at_the_last_empty_line():
    assert notes.parse_note(b"one\n\ntwo\n" + NOTE[len(TEXT) :]).text == b"one\n\ntwo\n"


@pytest.mark.parametrize(
    "error",
    [
        "", "example.com/foo", VKEY.replace("530d903a", "530d903b"), VKEY.replace("530d903a", "530D903A"), VKEY[:-1],
        VKEY.replace("foo", "bar"), VKEY.replace("foo", "f o"),
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        VKEY.replace("+Ae", "+Au"), VKEY + "\n",
    ],
)  # fmt: skip
def test_a_key_that_was_mistyped_is_refused(error: str):
    with pytest.raises(MalformedError):
        notes.parse_verifier_key(error)


def test_a_cosignature_binds_its_time_and_the_text():
    secret = Ed25519PrivateKey.generate()
    key = notes.VerifierKey("example.com/witness", notes.KIND_WITNESS, secret.public_key().public_bytes_raw())
    blob = (1700000000).to_bytes(8, "big") + secret.sign(b"cosignature/v1\ntime 1700000000\n" + TEXT)
    line = notes.NoteSignature(key.name, key.key_id, blob)
    assert notes.verify_signature_line(line, key, TEXT)
    assert not notes.verify_signature_line(line, key, b"other\n")
    assert not notes.verify_signature_line(line._replace(blob=(1700000001).to_bytes(8, "big") + blob[8:]), key, TEXT)
    assert not notes.verify_signature_line(line._replace(blob=blob[:71]), key, TEXT)
    # A log's key does not accept a cosignature, nor a witness's key a plain signature.
    log = key._replace(kind=notes.KIND_LOG)
    assert not notes.verify_signature_line(line._replace(key_id=log.key_id), log, TEXT)
    assert not notes.verify_signature_line(line._replace(blob=secret.sign(TEXT)), key, TEXT)


HEAD = notes.CheckpointHead("example.com/log", 17, bytes(range(32)))


def test_a_checkpoint_is_read_as_it_is_written():
    assert notes.parse_checkpoint(HEAD.to_text()) == HEAD
    assert notes.parse_checkpoint(HEAD._replace(size=0).to_text()).size == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"17", b"017"), (b"17", b"-17"), (b"17", b"+17"), (b"17", b"1_7"), (b"17", b"\xd9\xa1"), (b"17", b""),
     (b"17", b"1" * 16), (b"example.com/log", b""), (b"Hh8=", b"Hh9="), (b"\n17", b"\n17\nmore"), (b"8=\n", b"8=")],
)  # fmt: skip
def test_a_checkpoint_has_one_spelling_and_no_extension(old: bytes, new: bytes):
    assert old in HEAD.to_text()
    with pytest.raises(MalformedError):
        notes.parse_checkpoint(HEAD.to_text().replace(old, new, 1))


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_in_another_way(data: bytes):
    for read in (
        notes.parse_note,
        notes.parse_checkpoint,
        lambda some: notes.parse_verifier_key(some.decode("latin-1")),
    ):
        try:
            read(data)
        except MalformedError:
            continue
