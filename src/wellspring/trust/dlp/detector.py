"""Define a detector of one kind of personal data, and a pack of detectors."""

from __future__ import annotations

from dataclasses import dataclass

from wellspring.trust.dlp.checksums import Checksum


@dataclass(frozen=True)
class PiiPattern:
    """One shape of a value, as a regular expression over normalized text; case is ignored.

    value: without look-around, back-references and named groups, because columns are searched by an engine without
    them. label: text that must precede the value. not_before, not_after: characters that must not be next to it.
    column_pattern: the pattern applies only to columns whose name matches.
    """

    value: str
    label: str = ""
    not_before: str = "[0-9]"
    not_after: str = "[0-9]"
    column_pattern: str | None = None


@dataclass(frozen=True)
class Detector:
    """Defines one kind of personal data; `scanner.PiiScanner` finds it.

    checksum: a match that fails it is not reported. public: a number that is in public registers, so that a file name
    may contain it.
    """

    kind: str
    patterns: tuple[PiiPattern, ...]
    checksum: Checksum | None = None
    public: bool = False


@dataclass(frozen=True)
class DetectorPack:
    """Detectors that belong together, such as those of one country. A kind occurs in one pack only."""

    detectors: tuple[Detector, ...]
