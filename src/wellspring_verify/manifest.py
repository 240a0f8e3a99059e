"""Check the manifest of a pack, and those of the sealed parts that it refers to.

A manifest lists files with their SHA-256. One with parts names the manifest of each part by its SHA-256, which is also
the name of its file, `parts/SHA256.json`; each part may have parts of its own. So the manifest of the pack covers all
of them, and one seal covers the pack.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Set
from typing import NamedTuple

from wellspring_verify.canonical import CanonicalValue, MalformedError, loads_canonical

MANIFEST, SEAL, PROOFS, CHECKPOINT = "manifest.json", "seal.json", "proofs.json", "checkpoint"
LOG_KEYS = "log-keys.json"
"""The successions of the log's key (`log_keys`), if it has had more than one."""
STORY_JSON, STORY_PAGE = "story.json", "story.md"
_STORY = frozenset({STORY_JSON, STORY_PAGE})
_UNLISTED = frozenset({MANIFEST, SEAL, PROOFS, CHECKPOINT, LOG_KEYS})
_SHA256 = re.compile(r"[0-9a-f]{64}")


class PackFinding(NamedTuple):
    """A problem in one file of the pack."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


class PackCheck:
    """The files of a pack, the findings so far, and whether its manifest says development."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.findings: list[PackFinding] = []
        self.corrupted_files: set[str] = set()
        self.is_development = False

    def add_finding(self, file: str, message: str) -> None:
        self.findings.append(PackFinding(file, message))
        self.corrupted_files.add(file)

    def load_object(self, file: str, fields: set[str]) -> dict[str, CanonicalValue] | None:
        """Read a JSON file of the pack: an object with exactly these fields and `version` 1."""
        return self._load_version(file, {1: fields})

    def load_manifest(self, file: str) -> dict[str, CanonicalValue] | None:
        """Read a manifest. Version 2 has sealed parts, and does not list the rendered story.

        That of a project in development has a field more, `mode`.
        """
        fields = {"subject", "origin", "files"}
        value = self._load_version(file, {1: fields, 2: {*fields, "parts"}}, optional={"mode"})
        if value is not None and value.get("mode", "development") != "development":
            self.add_finding(file, "its mode must be development, or missing")
            return None
        return value

    def _load_version(
        self, file: str, fields_by_version: dict[int, set[str]], optional: Set[str] = frozenset()
    ) -> dict[str, CanonicalValue] | None:
        if file not in self.files:
            self.add_finding(file, "it is missing")
            return None
        try:
            value = loads_canonical(self.files[file])
        except MalformedError as exc:
            self.add_finding(file, str(exc))
            return None
        version = value.get("version") if isinstance(value, dict) else None
        fields = fields_by_version.get(version) if isinstance(version, int) and version is not True else None
        if not isinstance(value, dict) or fields is None or value.keys() - optional != fields | {"version"}:
            versions = " or ".join(
                f"version {number} with {', '.join(sorted(names))}" for number, names in fields_by_version.items()
            )
            self.add_finding(file, f"it is not an object of {versions}")
            return None
        return value


def check_manifest(pack: PackCheck) -> tuple[str | None, str | None, dict[str, str]]:
    """Check the manifest and its parts. Returns subject, origin, and the digest of each file that they list."""
    value = pack.load_manifest(MANIFEST)
    if value is None:
        return None, None, {}
    pack.is_development = "mode" in value
    subject, origin, files = value["subject"], value["origin"], value["files"]
    if not isinstance(subject, str) or not isinstance(origin, str) or not isinstance(files, dict):
        pack.add_finding(MANIFEST, "subject and origin must be text, files must be an object")
        return None, None, {}
    has_parts = "parts" in value
    listed_digests = _read_digests(pack, MANIFEST, files, listed_story=not has_parts)
    part_files = _check_parts(pack, origin, value["parts"], listed_digests) if has_parts else set[str]()
    rendered = _STORY if has_parts else frozenset[str]()
    for name in sorted(_STORY - (pack.files.keys() if has_parts else listed_digests.keys())):
        pack.add_finding(*((name, "it is missing") if has_parts else (MANIFEST, f"it does not list {name}")))
    for name, digest in sorted(listed_digests.items()):
        if name not in pack.files:
            if name not in pack.corrupted_files:
                pack.add_finding(name, "it is listed in manifest.json, but missing")
        elif hashlib.sha256(pack.files[name]).hexdigest() != digest:
            pack.add_finding(name, "it is not the file that its manifest lists: its SHA-256 differs")
    for name in sorted(pack.files.keys() - listed_digests.keys() - files.keys() - part_files - rendered - _UNLISTED):
        pack.add_finding(name, "it is not listed in manifest.json: it was added")
    return subject, origin, listed_digests


def _read_digests(
    pack: PackCheck, manifest: str, files: dict[str, CanonicalValue], *, listed_story: bool
) -> dict[str, str]:
    """Return the digests that one manifest lists, and report what it must not list."""
    reserved = _UNLISTED if listed_story else _UNLISTED | _STORY
    digests = {name: digest for name, digest in files.items() if isinstance(digest, str)}
    for name in sorted(name for name in files if name not in digests or name in reserved or name.startswith("parts/")):
        pack.add_finding(manifest, f"it lists {name!a}, or its digest, in a wrong way")
    return digests


def _check_parts(pack: PackCheck, origin: str, parts: CanonicalValue, listed_digests: dict[str, str]) -> set[str]:
    """Follow the parts of the manifest, add what they list, and return the names of their files."""
    pending, reached = [(MANIFEST, parts)], set[str]()
    while pending:
        parent, named = pending.pop()
        if not isinstance(named, dict) or not named:
            pack.add_finding(parent, "its parts must be an object with at least one part")
            continue
        for subject, digest in named.items():
            if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
                pack.add_finding(parent, f"the digest of its part {subject!a} is not a SHA-256")
            elif (name := f"parts/{digest}.json") not in reached:
                reached.add(name)
                pending += _check_part(pack, name, (subject, origin), listed_digests)
    return reached


def _check_part(
    pack: PackCheck, name: str, expected: tuple[str, str], listed_digests: dict[str, str]
) -> list[tuple[str, CanonicalValue]]:
    """Check the manifest of one part, and add what it lists. Returns the parts that it refers to, if it has any."""
    if name not in pack.files:
        if name not in pack.corrupted_files:
            pack.add_finding(name, "a manifest refers to it, but it is missing")
        return []
    if hashlib.sha256(pack.files[name]).hexdigest() != name[len("parts/") : -len(".json")]:
        pack.add_finding(name, "its SHA-256 is not the one in its name")
        return []
    value = pack.load_manifest(name)
    if value is None:
        return []
    files = value["files"]
    if (value["subject"], value["origin"]) != expected or not isinstance(files, dict):
        pack.add_finding(name, f"it is not the part {expected[0]!a} of this log")
        return []
    has_parts = "parts" in value
    digests = _read_digests(pack, name, files, listed_story=not has_parts)
    for file, digest in digests.items():
        # The pack has the story of all entries instead of those of its parts.
        if file not in _STORY and listed_digests.setdefault(file, digest) != digest:
            pack.add_finding(name, f"it lists {file!a} with another digest than another manifest")
    return [(name, value["parts"])] if has_parts else []
