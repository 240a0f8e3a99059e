"""Detectors for the United States: Social Security number, Medicare beneficiary identifier, NPI."""

from __future__ import annotations

from wellspring.trust.dlp.checksums import LuhnChecksum
from wellspring.trust.dlp.detector import Detector, DetectorPack, PiiPattern

_GAP = r"[^0-9a-z]{0,6}"
_WORD = "[0-9a-z]"

_SSN_LABEL = r"(?:ssn|ss ?(?:#|no)|soc(?:ial)?\.? ?sec(?:urity)?)(?: (?:number|num|no))?\.?(?: is)?" + _GAP
_SSN = Detector(
    "ssn",
    (
        PiiPattern(r"[0-9]{3} ?[-. /] ?[0-9]{2} ?[-. /] ?[0-9]{4}"),
        PiiPattern(r"[0-9]{9}", label=_SSN_LABEL, not_before="[a-z]"),
        PiiPattern(r"[0-9]{9}", column_pattern=r"ssn|social"),
    ),
)

# CMS excludes S, L, O, I, B, Z; position two also allows S here, which only synthetic numbers have.
_LETTER, _EITHER = "[AC-HJKMNP-RT-Y]", "[0-9AC-HJKMNP-RT-Y]"
_MBI = Detector(
    "mbi",
    (
        PiiPattern(
            rf"[1-9][AC-HJKMNP-Y]{_EITHER}[0-9][- ]?{_LETTER}{_EITHER}[0-9][- ]?{_LETTER}{_LETTER}[0-9]{{2}}",
            not_before=_WORD,
            not_after=_WORD,
        ),
    ),
)

_NPI = Detector(
    "npi",
    (
        PiiPattern(r"[12][0-9]{9}"),
        PiiPattern(r"[12](?:[- ]?[0-9]){9}", label=rf"npi{_GAP}", not_before="[a-z]"),
    ),
    # 80840 and the number (45 CFR 162.406).
    checksum=LuhnChecksum("80840", prefix_length=10),
    public=True,
)

US = DetectorPack((_SSN, _MBI, _NPI))
