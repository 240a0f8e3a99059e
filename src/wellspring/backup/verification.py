"""Verify a backup: its signature, and the SHA-256 of everything that it holds. No server and no key is needed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from wellspring.backup.backup_folder import BackupFolder
from wellspring.backup.manifest import SIGNER, BackupManifest
from wellspring.errors import CorruptedError
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entry_signature import parse_service_keys


class BackupCheck(NamedTuple):
    """The result. damaged: each path of the project whose content in the backup is missing or was changed."""

    manifest: BackupManifest
    damaged: tuple[str, ...]
    is_signer_trusted: bool


def verify_backup(folder: BackupFolder, backup: str | None = None, trusted_keys: tuple[str, ...] = ()) -> BackupCheck:
    """Read everything that a backup holds and compare it with its manifest.

    trusted_keys: verifier keys of the project, as `wellspring ledger key` prints them; without them the signature is
    compared only with the key that the backup itself names. Raises NotFound, CorruptedError for a changed manifest or
    another signer.
    """
    manifest = folder.read_manifest(backup)
    if trusted_keys:
        require_signer(manifest, trusted_keys)
    results: dict[str, bool] = {}
    damaged: list[str] = []
    for row in manifest.files:
        if row.digest not in results:
            results[row.digest] = _is_intact(folder, row.digest)
        if not results[row.digest]:
            damaged.append(row.path)
    return BackupCheck(manifest, tuple(damaged), bool(trusted_keys))


def require_signer(manifest: BackupManifest, trusted_keys: tuple[str, ...]) -> None:
    """Raise CorruptedError unless the backup was signed under one of these keys."""
    try:
        signer = parse_service_keys(manifest.service_keys).get(SIGNER)
        trusted = parse_service_keys(trusted_keys).get(SIGNER)
    except MalformedError as exc:
        raise CorruptedError(f"a verifier key is damaged: {exc}", fix="get it with `wellspring ledger key`") from None
    if trusted is None or signer != trusted:
        raise CorruptedError(
            f"the backup {manifest.id} is signed by another project",
            fix="compare the keys with `wellspring ledger key`",
        )


def _is_intact(folder: BackupFolder, digest: str) -> bool:
    try:
        with folder.open_content(digest) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except FileNotFoundError:
        return False
