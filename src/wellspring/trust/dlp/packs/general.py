"""Detectors for any country: mail, phone, payment card, IBAN, IP address, URL, date of birth."""

from __future__ import annotations

from wellspring.trust.dlp.checksums import IbanChecksum, LuhnChecksum
from wellspring.trust.dlp.detector import Detector, DetectorPack, PiiPattern

BIRTH_DATE_COLUMN = r"birth|dob"
"""A column whose name matches this pattern contains dates of birth."""
_GAP = r"[^0-9a-z]{0,6}"
_WORD = "[0-9a-z]"

_PHONE_LABEL = r"(?:phone|tel|telephone|cell|mobile|call|fax)(?: (?:at|on|no|number))?" + _GAP
_PHONE_DIGITS = r"(?:\+?1)?(?:[0-9]{10}|[0-9]{3}[-. ]?[0-9]{4})"
_PHONE = Detector(
    "phone",
    (
        PiiPattern(r"(?:\+?1[-. ]{0,2})?(?:\([0-9]{3}\)[-. ]{0,2}|[0-9]{3}[-./ ]{1,2})[0-9]{3}[-. ]{1,2}[0-9]{4}"),
        PiiPattern(_PHONE_DIGITS, label=_PHONE_LABEL, not_before="[a-z]"),
        PiiPattern(_PHONE_DIGITS, column_pattern=r"phone|mobile|(?:^|_)(?:tel|cell|fax)"),
        # The international form of other countries than the United States and Canada (E.164).
        PiiPattern(r"\+[2-9][0-9]{1,2}[-. ]?\(?[0-9]{1,4}\)?(?:[-. ]?[0-9]{2,4}){3,4}"),
    ),
)

_MAIL_ATOM = r"[^ \t\r\n@<>(),;:\"'/.]"
_MAIL = Detector(
    "email",
    (
        PiiPattern(
            rf"(?:{_MAIL_ATOM}|\.){{1,64}}@(?:{_MAIL_ATOM}{{1,63}}\.){{1,8}}[a-z]{{2,24}}", not_before="", not_after=""
        ),
    ),
)

_CARD_START = r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|35[0-9]{2}|6(?:011|5[0-9]{2}|4[4-9][0-9]))"
_CARD = Detector(
    "card",
    (
        PiiPattern(rf"{_CARD_START}(?:[- ]?[0-9]{{4}}){{3}}"),
        PiiPattern(r"3[47][0-9]{2}[- ]?[0-9]{6}[- ]?[0-9]{5}"),
    ),
    checksum=LuhnChecksum(),
)

_IBAN_GROUP = r"(?:[0-9][0-9a-z]{3}|[a-z][0-9][0-9a-z]{2}|[a-z]{2}[0-9][0-9a-z]|[a-z]{3}[0-9])"
_IBAN = Detector(
    "iban",
    (
        PiiPattern(
            rf"[a-z]{{2}}[0-9]{{2}} ?[0-9a-z]{{4}}(?: ?{_IBAN_GROUP}){{1,6}}(?: ?[0-9][0-9a-z]{{0,2}})?",
            not_before=_WORD,
            not_after=_WORD,
        ),
    ),
    checksum=IbanChecksum(),
)

_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HEX = r"[0-9a-f]{1,4}"
_IP_ADDRESS = Detector(
    "ip_address",
    (
        PiiPattern(rf"(?:{_BYTE}\.){{3}}{_BYTE}", not_before="[0-9.]"),
        PiiPattern(rf"(?:{_HEX}:){{7}}{_HEX}", not_before="[0-9a-z:]", not_after="[0-9a-z:]"),
        PiiPattern(rf"(?:{_HEX}:){{1,6}}(?::{_HEX}){{1,6}}", not_before="[0-9a-z:]", not_after="[0-9a-z:]"),
    ),
)

_URL = Detector(
    "url",
    (PiiPattern(r"(?:https?://|ftp://|www\.)[^ \t\r\n<>\"']+", not_before=_WORD, not_after=""),),
)

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE = (
    r"(?:[0-9]{4} ?[-/.] ?[0-9]{1,2} ?[-/.] ?[0-9]{1,2}"
    r"|[0-9]{1,2} ?[-/.] ?[0-9]{1,2} ?[-/.] ?(?:[0-9]{4}|[0-9]{2})"
    r"|(?:19|20)[0-9]{6}"
    rf"|{_MONTH} [0-9]{{1,2}},? [0-9]{{4}}|[0-9]{{1,2}}[- ]{_MONTH},?[- ][0-9]{{4}})"
)
_BIRTH_LABEL = r"(?:d\.?o\.?b\.?|date of birth|birth[ _-]?date|birthday|born(?: on)?)" + _GAP
_BIRTH_DATE = Detector(
    "birth_date",
    (
        PiiPattern(_DATE, label=_BIRTH_LABEL, not_before="[a-z]"),
        PiiPattern(_DATE, column_pattern=BIRTH_DATE_COLUMN),
    ),
)

CORE = DetectorPack((_CARD, _IBAN, _PHONE, _MAIL, _URL, _IP_ADDRESS, _BIRTH_DATE))
