"""Define a detector of one kind of personal data, and a pack of detectors."""

from __future__ import annotations

from dataclasses import dataclass

from wellspring.trust.dlp.checksums import Checksum


@dataclass(frozen=True)
class PiiPattern:
    """One shape of a value, as a regular expression over normalized text; case is ignored.

    value: without look-around, back-references and named groups, because columns are searched by an engine without
    them. label, label_after: text that must precede or follow the value. not_before, not_after: characters that must
    not be next to it.
    exclude_before, exclude_after: text directly before or behind the value that makes it another number, such as
    `order no. `; also without look-around. column_pattern: the pattern applies only to columns whose name matches;
    exclude_column: only to others. A name is in lower case, and `memberSSN` reads `member_ssn`.
    """

    value: str
    label: str = ""
    label_after: str = ""
    not_before: str = "[0-9]"
    not_after: str = "[0-9]"
    exclude_before: str = ""
    exclude_after: str = ""
    column_pattern: str | None = None
    exclude_column: str | None = None


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
