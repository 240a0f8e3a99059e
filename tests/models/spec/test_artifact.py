import hashlib
from pathlib import Path

import pytest

from tests.builders.model_files import SPEC, Signer
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.spec import artifact, inference_spec
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore
from wellspring_verify import notes


class Counting(DiskContentStore):
    """Counts what is opened."""

    reads = 0

    def get(self, digest: str) -> bytes:
        self.reads += 1
        return super().get(digest)


ARTIFACT_FILES = (inference_spec.SPEC_FILE, LightGBM.file_name)
FILES = {inference_spec.SPEC_FILE: SPEC.encode(), LightGBM.file_name: b"tree\nversion=v4\n"}


class ModelStoreFixture:
    def __init__(self, folder: Path) -> None:
        self.objects = Counting(folder / "objects")
        self.paths = DiskBlobStore(folder)
        self.folder = folder

    def write(self, files=FILES, signer: Signer | None = None, key: notes.VerifierKey | None = None) -> str:
        signer = signer or Signer()
        return artifact.write_artifact(
            files, objects=self.objects, paths=self.paths, keys=(key or signer.verifier_key,), signer=signer
        )

    def forge(self, text: bytes, signer: Signer) -> str:
        """Put a manifest there as somebody might who holds the key, or another one."""
        digest = hashlib.sha256(text).hexdigest()
        line = notes.NoteSignature(signer.verifier_key.name, signer.verifier_key.key_id, signer.sign(text)).to_line()
        self.paths.write_once(f"manifests/{digest}", text + b"\n" + line)
        return digest

    def read(self, digest: str, key: notes.VerifierKey | None = None) -> artifact.ModelArtifact:
        return artifact.read_artifact(
            digest, objects=self.objects, paths=self.paths, keys=(key or Signer().verifier_key,)
        )


@pytest.fixture
def model_store(tmp_path: Path) -> ModelStoreFixture:
    return ModelStoreFixture(tmp_path)


def test_what_is_written_is_read_again_and_the_digest_is_that_of_the_list(model_store: ModelStoreFixture):
    digest = model_store.write()
    assert digest == model_store.write()
    text = "".join(f"{hashlib.sha256(FILES[name]).hexdigest()} {name}\n" for name in sorted(FILES))
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert model_store.read(digest) == artifact.ModelArtifact(digest, b"tree\nversion=v4\n", SPEC, LightGBM)


def test_an_artifact_without_the_file_of_its_estimator_is_corrupt(model_store: ModelStoreFixture):
    digest = model_store.write({inference_spec.SPEC_FILE: SPEC.encode(), "model.other": b"x"})
    with pytest.raises(CorruptedError, match=r"has no model\.lgb, the file of its estimator lightgbm"):
        model_store.read(digest)


def test_a_pickle_is_never_written(model_store: ModelStoreFixture):
    with pytest.raises(Refused, match=r"model\.pkl"):
        model_store.write({**FILES, "model.pkl": b"\x80\x04"})
    assert not (model_store.folder / "objects").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "../model.lgb", "MODEL.LGB"])
def test_an_artifact_with_an_unknown_file_is_refused_before_it_is_read(model_store: ModelStoreFixture, name: str):
    stored = {item: model_store.objects.put(content) for item, content in {**FILES, name: b"\x80\x04\x95."}.items()}
    digest = model_store.forge("".join(f"{stored[item]} {item}\n" for item in sorted(stored)).encode(), Signer())
    with pytest.raises(Refused, match="none was read"):
        model_store.read(digest)
    assert model_store.objects.reads == 0


def test_an_artifact_signed_with_another_key_is_refused(model_store: ModelStoreFixture):
    other_signer = Signer(b"\x01" * 32)
    digest = model_store.write(signer=other_signer)
    with pytest.raises(CorruptedError, match="not signed by"):
        model_store.read(digest)
    assert model_store.objects.reads == 0
    # Nor does the right name help over the wrong key.
    text = b"".join(hashlib.sha256(FILES[n]).hexdigest().encode() + b" " + n.encode() + b"\n" for n in ARTIFACT_FILES)
    line = notes.NoteSignature(
        Signer().verifier_key.name, Signer().verifier_key.key_id, other_signer.sign(text)
    ).to_line()
    model_store.paths.replace(f"manifests/{digest}", text + b"\n" + line)
    with pytest.raises(CorruptedError, match="not signed by"):
        model_store.read(digest)


@pytest.mark.parametrize("name", ARTIFACT_FILES)
def test_a_changed_byte_of_a_file_is_refused(model_store: ModelStoreFixture, name: str):
    digest = model_store.write()
    instant = hashlib.sha256(FILES[name]).hexdigest()
    path = model_store.folder / "objects" / instant[:2] / instant[2:]
    path.write_bytes(FILES[name][:-1] + b"!")
    with pytest.raises(CorruptedError, match="no longer hashes"):
        model_store.read(digest)


def test_a_changed_manifest_is_refused(model_store: ModelStoreFixture):
    digest = model_store.write()
    path = model_store.folder / "manifests" / digest
    whole = path.read_bytes()
    path.write_bytes(whole.replace(whole[:4], b"0000", 1))
    with pytest.raises(CorruptedError, match="does not match its digest"):
        model_store.read(digest)
    path.write_bytes(b"nothing")
    with pytest.raises(CorruptedError, match="is not a signed note"):
        model_store.read(digest)
    with pytest.raises(NotFound):
        model_store.read("0" * 64)


def test_a_signed_manifest_of_another_artifact_is_refused(model_store: ModelStoreFixture):
    digest = model_store.write()
    older = model_store.write({**FILES, LightGBM.file_name: b"tree\nversion=v3\n"})
    model_store.paths.replace(f"manifests/{digest}", model_store.paths.read(f"manifests/{older}"))
    with pytest.raises(CorruptedError, match="does not match its digest"):
        model_store.read(digest)


def test_a_key_server_that_signs_with_another_key_is_noticed(model_store: ModelStoreFixture):
    with pytest.raises(CorruptedError, match="another key"):
        model_store.write(key=Signer(b"\x02" * 32).verifier_key)


@pytest.mark.parametrize(
    "lines",
    [
        f"{inference_spec.SPEC_FILE}",
        f"{LightGBM.file_name} {inference_spec.SPEC_FILE}",
        f"{inference_spec.SPEC_FILE} {inference_spec.SPEC_FILE}",
    ],
)
def test_a_manifest_names_both_files_once_in_order(model_store: ModelStoreFixture, lines: str):
    digest = model_store.forge("".join(f"{'0' * 64} {name}\n" for name in lines.split()).encode(), Signer())
    with pytest.raises(Refused):
        model_store.read(digest)


def test_a_signed_model_file_that_is_not_text_is_corrupt(model_store: ModelStoreFixture):
    digest = model_store.write({**FILES, LightGBM.file_name: b"tree\n\xff"})
    with pytest.raises(CorruptedError, match="is not text"):
        model_store.read(digest).load_model()


def test_a_manifest_of_an_earlier_version_of_the_key_is_read_and_of_a_foreign_key_is_not(
    model_store: ModelStoreFixture,
):
    earlier, newest, foreign = (Signer(bytes([number]) * 32) for number in (3, 4, 5))
    keys = (newest.verifier_key, earlier.verifier_key)
    early = model_store.write(signer=earlier)
    read = artifact.read_artifact(early, objects=model_store.objects, paths=model_store.paths, keys=keys)
    assert read.digest == early
    stolen = model_store.write({**FILES, LightGBM.file_name: b"tree\nversion=v5\n"}, signer=foreign)
    with pytest.raises(CorruptedError, match="is not signed by"):
        artifact.read_artifact(stolen, objects=model_store.objects, paths=model_store.paths, keys=keys)
