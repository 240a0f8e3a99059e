"""Detectors for the United States: Social Security number, taxpayer number, Medicare beneficiary identifier, NPI."""

from __future__ import annotations

from wellspring.trust.dlp.checksums import LuhnChecksum
from wellspring.trust.dlp.detector import Detector, DetectorPack, PiiPattern
from wellspring.trust.dlp.packs.label_words import (
    AFTER_CODE,
    BEFORE_CODE,
    FAR,
    GAP,
    LETTER,
    OTHER_NUMBER_AFTER,
    OTHER_NUMBER_BEFORE,
    OTHER_NUMBER_COLUMN,
    PERSON,
    WORD,
)

_NOT_OTHER_BEFORE = f"{OTHER_NUMBER_BEFORE}|{BEFORE_CODE}"
_NOT_OTHER_AFTER = f"{OTHER_NUMBER_AFTER}|{AFTER_CODE}"


def _separate(area: str, group: str, serial: str) -> str:
    """Return the pattern of a number in three parts, with the separators that people write."""
    hyphen = r" ?[- ] ?[\r\n]{0,2}"
    return rf"{area}(?:{hyphen}{group}{hyphen}|\.{group}\.|_{group}_|/{group}/){serial}"


# Never issued: area 000, 666 and 900 to 999, group 00, serial 0000. Such a number is found behind a label or in a
# column of that name only: there it is somebody's number with an error, or of a person made for a test.
_AREA = "(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6(?:[0-57-9][0-9]|6[0-57-9]))"
_GROUP = "(?:0[1-9]|[1-9][0-9])"
_SERIAL = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_SEPARATED = _separate("[0-9]{3}", "[0-9]{2}", "[0-9]{4}")
# The last form has its digits spaced out: 9 0 0 - 1 2 - 3 4 5 6.
_ANY_SSN = rf"(?:{_SEPARATED}|[0-9]{{9}}|(?:[0-9] ){{3}}-? ?(?:[0-9] ){{2}}-? ?(?:[0-9] ){{3}}[0-9])"
_SSN_WORDS = r"(?:s\.?s\.?n\.?|ss ?(?:#|no)|soc(?:ial)?\.?[ _-]?sec(?:urity)?|hicn)\.?"
_LABEL_WORDS = rf"(?:(?:[ :=#_\"'(-]{{1,3}}[a-z']{{1,12}}\.?){{0,3}}|{FAR}){GAP}"
_SSN = Detector(
    "ssn",
    (
        PiiPattern(
            _separate(_AREA, _GROUP, _SERIAL),
            not_before=WORD,
            not_after=WORD,
            exclude_before=_NOT_OTHER_BEFORE,
            exclude_after=_NOT_OTHER_AFTER,
            exclude_column=OTHER_NUMBER_COLUMN,
        ),
        PiiPattern(
            _ANY_SSN,
            label=rf"(?:{PERSON}?{_SSN_WORDS}{_LABEL_WORDS}"
            rf"|social(?: (?:is|was|no\.?|number|on file|given|as|:)){{0,3}}{GAP})",
            not_before=LETTER,
            exclude_before=OTHER_NUMBER_BEFORE,
        ),
        PiiPattern(
            f"(?:{_SEPARATED}|[0-9]{{9}})",
            label_after=rf"(?: ?\(| (?:is|as) (?:(?:the|her|his|their|my) )?){_SSN_WORDS}",
            not_before=WORD,
            not_after=LETTER,
        ),
        # A tax number of a business has two digits, a hyphen and seven.
        PiiPattern(
            _SEPARATED,
            label=rf"(?:tin|(?:tax|taxpayer)[ _-]?id){_LABEL_WORDS}",
            not_before=LETTER,
            exclude_before=OTHER_NUMBER_BEFORE,
        ),
        # A column of integers has lost the leading zeros.
        PiiPattern(
            f"(?:{_ANY_SSN}|[0-9]{{7,8}})",
            column_pattern=rf"(?:^|[^a-z]|{PERSON})ssn"
            r"|soc(?:ial)?[^a-z]?sec|(?:^|[^a-z])social(?:$|[^a-z]?(?:no|num|number|nbr|id))(?:$|[^a-z])",
        ),
    ),
)

# IRS: 9 and a group of 50-65, 70-88, 90-92 or 94-99. The number of a person without a Social Security number.
_ITIN_GROUP = "(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])"
_ITIN = Detector(
    "itin",
    (
        PiiPattern(
            _separate("9[0-9]{2}", _ITIN_GROUP, "[0-9]{4}"),
            not_before=WORD,
            not_after=WORD,
            exclude_before=_NOT_OTHER_BEFORE,
            exclude_after=_NOT_OTHER_AFTER,
            exclude_column=OTHER_NUMBER_COLUMN,
        ),
        PiiPattern(
            _ANY_SSN,
            label=r"(?:itin|individual taxpayer[a-z ]{0,24})" + _LABEL_WORDS,
            not_before=LETTER,
            exclude_before=OTHER_NUMBER_BEFORE,
        ),
        PiiPattern("[0-9]{9}", column_pattern=r"(?:^|[^a-z])itin(?:$|[^a-z])"),
    ),
)

# CMS excludes S, L, O, I, B, Z; position two also allows S here, which only synthetic numbers have.
_LETTER, _EITHER = "[AC-HJKMNP-RT-Y]", "[0-9AC-HJKMNP-RT-Y]"
_MBI = Detector(
    "mbi",
    (
        PiiPattern(
            rf"[1-9][AC-HJKMNP-Y]{_EITHER}[0-9][-_. ]?{_LETTER}{_EITHER}[0-9][-_. ]?{_LETTER}{_LETTER}[0-9]{{2}}",
            not_before=WORD,
            not_after=WORD,
            exclude_before=OTHER_NUMBER_BEFORE,
        ),
    ),
)

_NPI = Detector(
    "npi",
    (
        PiiPattern(
            r"[12][0-9]{9}",
            not_before=WORD,
            not_after=WORD,
            exclude_before=_NOT_OTHER_BEFORE,
            exclude_after=_NOT_OTHER_AFTER,
            exclude_column=OTHER_NUMBER_COLUMN,
        ),
        PiiPattern(
            r"[12](?:[-_. ]?[0-9]){9}", label=rf"n\.?p\.?i\.?s?(?: (?:no|number|is)|{FAR})?{GAP}", not_before=LETTER
        ),
        PiiPattern("[12][0-9]{9}", column_pattern=r"(?:^|[^a-z])npi"),
    ),
    # 80840 and the number (45 CFR 162.406).
    checksum=LuhnChecksum("80840", prefix_length=10),
    public=True,
)

US = DetectorPack((_SSN, _ITIN, _MBI, _NPI))
