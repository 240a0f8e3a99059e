"""The manifest of a backup: each file with its SHA-256, and the state of the log; signed by the project's owner.

The signature is of a key that OpenBao has certified for the supervisor, so it is verified with the key of that service
(`wellspring ledger key`), which the ledger's readers have.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from wellspring.errors import CorruptedError
from wellspring.records.record import Digest, Frozen, Record
from wellspring.records.trust import LineSignature
from wellspring.trust.ledger.journal_key import JournalKey
from wellspring_verify import notes
from wellspring_verify.answer_signature import verify_signature
from wellspring_verify.canonical import MalformedError, dumps_canonical, loads_canonical
from wellspring_verify.entry_signature import certified_text, parse_service_keys

SIGNER = "supervisor"
"""The service whose key certifies the key that signs a manifest."""


def _require_relative(path: str) -> str:
    if path.startswith("/") or not path or "\0" in path or {"..", ".", ""} & set(path.split("/")):
        raise ValueError("it is not a path below the project")
    return path


RelativePath = Annotated[str, AfterValidator(_require_relative)]


class BackupFolderRow(Frozen):
    """A folder of the project. mode: its permission bits."""

    path: RelativePath
    mode: int


class BackupFileRow(BackupFolderRow):
    """A file of the project. digest, size: of its content in the backup; encrypted: under the master key.

    inode, modified_ns: as the project had them, so that the next backup need not read an unchanged file again.
    """

    size: int
    digest: Digest
    inode: str
    modified_ns: str
    encrypted: bool = False


class BackupManifest(Record):
    """One backup. known_since: the moment at which the servers were paused.

    root, root_mode: the path of the project, by which the lake names its data files, and its mode. origin, log_size,
    log_root: of the newest checkpoint. key_check: names the master key without revealing it. intent: the entry that
    announced the backup.
    """

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9TZ]{16}-[0-9a-f]{8}$")]
    root: str
    root_mode: int
    project: str
    origin: str
    log_size: int
    log_root: str
    service_keys: tuple[str, ...]
    key_check: str
    intent: str
    paused_ms: int
    folders: tuple[BackupFolderRow, ...]
    files: tuple[BackupFileRow, ...]


def encode_manifest(manifest: BackupManifest) -> bytes:
    """Write it in the canonical form, which is signed."""
    return dumps_canonical(manifest.model_dump(mode="json"))


def sign_manifest(manifest: BackupManifest, key: JournalKey) -> bytes:
    """Return the file of a manifest: its content and its signature."""
    content = encode_manifest(manifest)
    signature = key.sign_line(_signed_text(content)).model_dump(mode="json")
    return dumps_canonical({"manifest": manifest.model_dump(mode="json"), "signature": signature})


def parse_manifest(data: bytes, name: str) -> BackupManifest:
    """Read a signed manifest. Raises CorruptedError unless its signature is valid under the keys that it names."""
    try:
        document = loads_canonical(data)
        if not isinstance(document, dict) or document.keys() != {"manifest", "signature"}:
            raise MalformedError("it has another form")
        manifest = BackupManifest.model_validate(document["manifest"], strict=False)
        signature = LineSignature.model_validate(document["signature"])
        service_key = parse_service_keys(manifest.service_keys)[SIGNER]
        key, certificate, value = map(notes.decode_base64, (signature.key, signature.certificate, signature.value))
        content = dumps_canonical(document["manifest"])
    except (MalformedError, ValidationError, KeyError) as exc:
        detail = str(exc) if isinstance(exc, MalformedError) else "a field is missing or invalid"
        raise CorruptedError(f"{name} is damaged: {detail}", fix="use another backup; keep this one") from None
    if not verify_signature(service_key, certificate, certified_text(SIGNER, key)) or not verify_signature(
        key, value, _signed_text(content)
    ):
        raise CorruptedError(f"{name} was changed: its signature is not valid", fix="use another backup; keep this one")
    return manifest


def manifest_digest(manifest: BackupManifest) -> Digest:
    """Return the digest by which the ledger names the backup."""
    return hashlib.sha256(encode_manifest(manifest)).hexdigest()


def _signed_text(content: bytes) -> bytes:
    return f"wellspring backup manifest\n{hashlib.sha256(content).hexdigest()}\n".encode()
