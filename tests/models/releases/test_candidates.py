import hashlib
import json
from pathlib import Path

import pytest

from tests.builders.synthetic_world import candidate
from wellspring.errors import CorruptedError, NotFound
from wellspring.models.releases import candidates
from wellspring.stores.objects.disk import DiskBlobStore


@pytest.fixture
def paths(tmp_path: Path) -> DiskBlobStore:
    return DiskBlobStore(tmp_path)


def test_a_candidate_is_kept_under_its_own_hash(paths: DiskBlobStore, tmp_path: Path):
    built = candidate()
    assert built.id == candidates.candidate_digest(built)[:12]
    candidates.save_candidate(built, paths=paths)
    assert candidates.read_candidate(built.id, paths=paths) == built
    assert candidates.list_candidates(paths) == (built.id,)
    stored = json.loads((tmp_path / "candidates" / f"{built.id}.json").read_bytes())
    assert stored["scores"]["metrics"]["auc"]["value"] == "0.7"


def test_a_changed_candidate_is_refused(paths: DiskBlobStore, tmp_path: Path):
    built = candidate()
    candidates.save_candidate(built, paths=paths)
    path = tmp_path / "candidates" / f"{built.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"pass"', b'"fail"'))
    with pytest.raises(CorruptedError):
        candidates.read_candidate(built.id, paths=paths)
    for unknown in ("0" * 12, "../x"):
        with pytest.raises(NotFound):
            candidates.read_candidate(unknown, paths=paths)


@pytest.mark.parametrize("content", [b"[]", b'{"model":"denials"}', b'{ "a": 1 }', b"\xff"])
def test_a_file_that_is_not_a_candidate_is_corrupt_even_if_its_name_matches(paths: DiskBlobStore, content: bytes):
    name = hashlib.sha256(content).hexdigest()[:12]
    paths.write_once(f"candidates/{name}.json", content)
    with pytest.raises(CorruptedError, match="is corrupt: its content"):
        candidates.read_candidate(name, paths=paths)
