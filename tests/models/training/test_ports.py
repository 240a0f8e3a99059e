"""The store of models reads what it wrote."""

from __future__ import annotations

from pathlib import Path

from tests.builders.model_files import Signer
from tests.builders.released_model import recipe, trees
from wellspring.models.spec.inference_spec import SPEC_FILE
from wellspring.models.training.ports import ModelStore
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore


def test_the_files_of_a_model_are_read_by_the_digest_of_their_manifest(tmp_path: Path):
    signer = Signer()
    store = ModelStore(DiskContentStore(tmp_path / "objects"), DiskBlobStore(tmp_path), (signer.verifier_key,))
    digest = store.write_artifact({"model.lgb": trees(), SPEC_FILE: recipe().encode()}, signer)
    read = store.read_artifact(digest)
    assert (read.digest, read.content, read.spec) == (digest, trees(), recipe())
