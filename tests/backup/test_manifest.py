from __future__ import annotations

import json

import pytest

from tests.builders.backups import build_manifest
from tests.builders.journal_keys import journal_key
from wellspring.backup.manifest import BackupFileRow, BackupFolderRow, manifest_digest, parse_manifest, sign_manifest
from wellspring.errors import CorruptedError

FILE = BackupFileRow(path="a/b", mode=0o640, size=3, digest="0" * 64, inode="5", modified_ns="7")


def test_a_signed_manifest_is_read_again():
    manifest = build_manifest(files=(FILE,), folders=(BackupFolderRow(path="a", mode=0o750),))
    assert parse_manifest(sign_manifest(manifest, journal_key("supervisor")), "m") == manifest


@pytest.mark.parametrize("change", [(b'"log_size":7', b'"log_size":8'), (b"/srv/shop", b"/srv/shob"), (b"}}", b"}")])
def test_a_changed_manifest_is_corrupted(change: tuple[bytes, bytes]):
    data = sign_manifest(build_manifest(files=(FILE,)), journal_key("supervisor"))
    assert change[0] in data
    with pytest.raises(CorruptedError):
        parse_manifest(data.replace(*change), "m")


def test_the_signature_of_another_service_is_not_valid():
    with pytest.raises(CorruptedError, match="its signature is not valid"):
        parse_manifest(sign_manifest(build_manifest(), journal_key("worker")), "m")


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../../b", "", "a//b", "."])
def test_a_path_outside_the_project_is_corrupted(path: str):
    manifest = build_manifest(files=(FILE,))
    document = json.loads(sign_manifest(manifest, journal_key("supervisor")))
    document["manifest"]["files"][0]["path"] = path
    with pytest.raises(CorruptedError):
        parse_manifest(json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), "m")


def test_the_digest_is_of_the_whole_manifest():
    assert manifest_digest(build_manifest()) != manifest_digest(build_manifest(log_size=8))
