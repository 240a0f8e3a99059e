import hashlib
import json
import math
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.models.synthetic import candidate
from wellspring.errors import Broken, NotFound, Refused
from wellspring.models import artefact
from wellspring.models.artefact import Input, Platt, Recipe
from wellspring.stores.objects.disk import DiskObjects, DiskPaths
from wellspring_verify import notes


class Signer:
    """The key `models`, in this process."""

    def __init__(self, seed: bytes = b"\x09" * 32) -> None:
        self._secret = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, message: bytes) -> bytes:
        return self._secret.sign(message)

    def public_key(self) -> bytes:
        return self._secret.public_key().public_bytes_raw()

    @property
    def key(self) -> notes.Key:
        return notes.Key("example.com/tiny/models", notes.LOG, self.public_key())


class Counting(DiskObjects):
    """Counts what is opened."""

    opened = 0

    def get(self, digest: str) -> bytes:
        self.opened += 1
        return super().get(digest)


RECIPE = Recipe(
    model="denials",
    features=(
        Input(view="claim", name="amount", type="float64", what="the amount"),
        Input(view="claim", name="kind", type="string", categories=("a", "b"), what="the kind"),
        Input(view="history", name="known", type="bool", what="whether it is known"),
    ),
    calibration=Platt(a=(1.5).hex(), b=(-0.25).hex()),
    threshold="0.40",
    labels=("pays", "denies"),
    keys={"claim": ("claim_id",), "history": ("member_id",)},
    seed=7,
    rounds=20,
)
FILES = {artefact.RECIPE: RECIPE.encode(), artefact.BOOSTER: b"tree\nversion=v4\n"}


class Shelf:
    def __init__(self, folder: Path) -> None:
        self.objects = Counting(folder / "objects")
        self.paths = DiskPaths(folder)
        self.folder = folder

    def write(self, files=FILES, signer: Signer | None = None, key: notes.Key | None = None) -> str:
        signer = signer or Signer()
        return artefact.write(files, objects=self.objects, paths=self.paths, key=key or signer.key, signer=signer)

    def forge(self, text: bytes, signer: Signer) -> str:
        """Put a manifest there as somebody might who holds the key, or another one."""
        digest = hashlib.sha256(text).hexdigest()
        line = notes.Signature(signer.key.name, signer.key.id, signer.sign(text)).line()
        self.paths.write_once(f"manifests/{digest}", text + b"\n" + line)
        return digest

    def read(self, digest: str, key: notes.Key | None = None) -> artefact.Artefact:
        return artefact.read(digest, objects=self.objects, paths=self.paths, key=key or Signer().key)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_what_is_written_is_read_again_and_the_digest_is_that_of_the_list(shelf: Shelf):
    digest = shelf.write()
    assert digest == shelf.write()
    text = "".join(f"{hashlib.sha256(FILES[name]).hexdigest()} {name}\n" for name in sorted(FILES))
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert shelf.read(digest) == artefact.Artefact(digest, "tree\nversion=v4\n", RECIPE)


def test_a_pickle_is_never_written(shelf: Shelf):
    with pytest.raises(Refused, match=r"model\.pkl"):
        shelf.write({**FILES, "model.pkl": b"\x80\x04"})
    assert not (shelf.folder / "objects").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.skops", "../model.lgb", "MODEL.LGB"])
def test_a_self_made_artefact_is_refused_before_a_byte_of_it_is_read(shelf: Shelf, name: str):
    stored = {each: shelf.objects.put(content) for each, content in {**FILES, name: b"\x80\x04\x95."}.items()}
    digest = shelf.forge("".join(f"{stored[each]} {each}\n" for each in sorted(stored)).encode(), Signer())
    with pytest.raises(Refused, match="none was read"):
        shelf.read(digest)
    assert shelf.objects.opened == 0


def test_an_artefact_signed_by_another_is_refused(shelf: Shelf):
    theirs = Signer(b"\x01" * 32)
    digest = shelf.write(signer=theirs)
    with pytest.raises(Broken, match="not signed by"):
        shelf.read(digest)
    assert shelf.objects.opened == 0
    # Nor does the right name help over the wrong key.
    text = b"".join(hashlib.sha256(FILES[n]).hexdigest().encode() + b" " + n.encode() + b"\n" for n in artefact.FILES)
    line = notes.Signature(Signer().key.name, Signer().key.id, theirs.sign(text)).line()
    shelf.paths.swap(f"manifests/{digest}", text + b"\n" + line)
    with pytest.raises(Broken, match="not signed by"):
        shelf.read(digest)


@pytest.mark.parametrize("name", artefact.FILES)
def test_a_changed_byte_of_a_file_is_refused(shelf: Shelf, name: str):
    digest = shelf.write()
    at = hashlib.sha256(FILES[name]).hexdigest()
    path = shelf.folder / "objects" / at[:2] / at[2:]
    path.write_bytes(FILES[name][:-1] + b"!")
    with pytest.raises(Broken, match="no longer hashes"):
        shelf.read(digest)


def test_a_changed_manifest_is_refused(shelf: Shelf):
    digest = shelf.write()
    path = shelf.folder / "manifests" / digest
    whole = path.read_bytes()
    path.write_bytes(whole.replace(whole[:4], b"0000", 1))
    with pytest.raises(Broken, match="another text"):
        shelf.read(digest)
    path.write_bytes(b"nothing")
    with pytest.raises(Broken, match="no signed note"):
        shelf.read(digest)
    with pytest.raises(NotFound):
        shelf.read("0" * 64)


def test_another_artefact_never_stands_in_however_well_it_is_signed(shelf: Shelf):
    digest = shelf.write()
    older = shelf.write({**FILES, artefact.BOOSTER: b"tree\nversion=v3\n"})
    shelf.paths.swap(f"manifests/{digest}", shelf.paths.read(f"manifests/{older}"))
    with pytest.raises(Broken, match="another text"):
        shelf.read(digest)


def test_a_key_server_that_signs_with_another_key_is_noticed(shelf: Shelf):
    with pytest.raises(Broken, match="another key"):
        shelf.write(key=Signer(b"\x02" * 32).key)


@pytest.mark.parametrize(
    "lines", [f"{artefact.RECIPE}", f"{artefact.BOOSTER} {artefact.RECIPE}", f"{artefact.RECIPE} {artefact.RECIPE}"]
)
def test_a_manifest_names_both_files_once_in_order(shelf: Shelf, lines: str):
    digest = shelf.forge("".join(f"{'0' * 64} {name}\n" for name in lines.split()).encode(), Signer())
    with pytest.raises(Refused):
        shelf.read(digest)


@pytest.mark.parametrize(
    "content", [b"{}", b'{"format": 1}', b"[1]", RECIPE.encode().replace(b'"format":1', b'"format":2')]
)
def test_a_recipe_is_exactly_what_encode_writes(content: bytes):
    with pytest.raises(Broken):
        artefact.decode(content)


def test_a_vector_is_in_the_models_order_and_what_is_unknown_is_nan():
    vector = RECIPE.vector({"claim": {"kind": "b", "amount": 3}, "history": {"known": True}})
    assert vector == [3.0, 1.0, 1.0]
    assert [math.isnan(each) for each in RECIPE.vector({"claim": {"kind": "new", "amount": None}})] == [True] * 3


def test_a_decision_is_from_the_threshold_on():
    assert (RECIPE.decide(0.39999), RECIPE.decide(0.40)) == ("pays", "denies")


def test_a_candidate_is_kept_under_its_own_hash(shelf: Shelf):
    made = candidate()
    assert made.id == artefact.candidate_digest(made)[:12]
    artefact.keep_candidate(made, paths=shelf.paths)
    assert artefact.read_candidate(made.id, paths=shelf.paths) == made
    assert artefact.candidates(shelf.paths) == (made.id,)
    kept = json.loads((shelf.folder / "candidates" / f"{made.id}.json").read_bytes())
    assert kept["scores"]["figures"]["auc"]["value"] == "0.7"


def test_a_changed_candidate_is_refused(shelf: Shelf):
    made = candidate()
    artefact.keep_candidate(made, paths=shelf.paths)
    path = shelf.folder / "candidates" / f"{made.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"pass"', b'"fail"'))
    with pytest.raises(Broken):
        artefact.read_candidate(made.id, paths=shelf.paths)
    for unknown in ("0" * 12, "../x"):
        with pytest.raises(NotFound):
            artefact.read_candidate(unknown, paths=shelf.paths)


@pytest.mark.parametrize("content", [b"[]", b'{"model":"denials"}', b'{ "a": 1 }', b"\xff"])
def test_what_is_no_candidate_is_broken_though_its_name_fits(shelf: Shelf, content: bytes):
    name = hashlib.sha256(content).hexdigest()[:12]
    shelf.paths.write_once(f"candidates/{name}.json", content)
    with pytest.raises(Broken, match="is no candidate"):
        artefact.read_candidate(name, paths=shelf.paths)


def test_a_model_file_that_is_no_text_is_broken_however_well_it_is_signed(shelf: Shelf):
    digest = shelf.write({**FILES, artefact.BOOSTER: b"tree\n\xff"})
    with pytest.raises(Broken, match="is no text"):
        shelf.read(digest)
