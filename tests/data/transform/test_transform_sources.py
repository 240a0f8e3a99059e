"""The code of a transform is restored byte for byte, from a list whose digest names it."""

import hashlib
from pathlib import Path

import pytest

from wellspring.data.transform.source_digest import code_digest, encode_listing
from wellspring.data.transform.transform_sources import TransformSources
from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.disk import DiskContentStore


@pytest.fixture
def sources(tmp_path: Path) -> TransformSources:
    return TransformSources(DiskContentStore(tmp_path / "objects"))


def dbt_project(folder: Path) -> Path:
    for name, text in {"dbt_project.yml": "name: a", "models/deep/a.sql": "select 1", "target/x.json": "{}"}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_what_is_saved_is_restored_with_the_digest_of_the_folder(sources: TransformSources, tmp_path: Path):
    folder = dbt_project(tmp_path / "dbt")
    transform = sources.save(folder)
    assert transform == code_digest(folder) == sources.save(folder)
    (folder / "models/deep/a.sql").write_text("select 2")
    assert sources.save(folder) != transform
    restored = tmp_path / "restored"
    restored.mkdir()
    sources.restore(transform, restored)
    assert code_digest(restored) == transform
    files = {path.relative_to(restored).as_posix() for path in restored.rglob("*") if path.is_file()}
    assert files == {"dbt_project.yml", "models/deep/a.sql"}
    assert (restored / "models/deep/a.sql").read_text() == "select 1"
    assert sources.read_file(sources.list_files(transform)["dbt_project.yml"]) == b"name: a"


def test_a_transform_that_was_never_saved_is_missing(sources: TransformSources, tmp_path: Path):
    with pytest.raises(NotFound):
        sources.restore("0" * 64, tmp_path)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_a_list_never_names_a_file_outside_its_folder(tmp_path: Path, name: str):
    objects = DiskContentStore(tmp_path / "objects")
    digest = objects.put(encode_listing({name: hashlib.sha256(b"x").hexdigest()}))
    with pytest.raises(CorruptedError, match="outside its folder"):
        TransformSources(objects).restore(digest, tmp_path / "restored")
    with pytest.raises(CorruptedError, match="does not list source files"):
        TransformSources(objects).list_files(objects.put(b"[]"))
