"""Detectors for any country: mail, phone, payment card, IBAN, IP address, URL, date of birth."""

from __future__ import annotations

from wellspring.trust.dlp.checksums import IbanChecksum, LuhnChecksum
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

BIRTH_DATE_COLUMN = r"birth|dob|(?:^|[^a-z])(?:b[-_ ]?day|born)"
"""A column whose name matches this pattern contains dates of birth."""
_BREAK = r"[\r\n]{0,2}"
"""A line break within a value, behind a separator."""

# The North American Numbering Plan: an area code and an exchange begin with 2 to 9 and do not end in 11. A label, a
# column name and +1 accept any digits: people write numbers down wrong.
_AREA = _EXCHANGE = "[2-9](?:[02-9][0-9]|1[02-9])"
_PHONE_WORDS = (
    rf"(?:(?:home|work|cell|mobile|contact|office|day|tele|{PERSON})?phone|ph|tel|cell|mobile|mob"
    r"|call(?:ed|er|ing|[ _-]?back)?|cb|fax)"
)
_PHONE_LABEL = rf"{_PHONE_WORDS}(?:[ _]?(?:at|on|from|is|was|no|num|number|nr|me|her|him|them|back)){{0,3}}{GAP}"
_CONTACT_LABEL = (
    r"(?:contact|reach(?:ed)?|text|sms|whatsapp|dial|ring|(?:my|her|his|their|new|home|work|office|emergency) number)"
    rf"(?: (?:at|on|no|number|is|me|her|him)){{0,3}}{GAP}"
)
_PHONE_TEN = (
    rf"(?:\+?1[-._ ]?)?(?:\([0-9]{{3}}\)|[0-9]{{3}})[-./_ ]{{0,2}}{_BREAK}[0-9]{{3}}[-._ ]{{0,2}}{_BREAK}[0-9]{{4}}"
)
_PHONE_SEVEN = r"[0-9]{3}[-._ ]?[0-9]{4}"
_PHONE = Detector(
    "phone",
    (
        PiiPattern(
            rf"(?:\+?1[-._ ]{{0,2}})?{_AREA}[-./_ ]{{1,3}}{_BREAK}{_EXCHANGE}[-._ ]{{0,3}}{_BREAK}[0-9]{{4}}",
            not_before=WORD,
            exclude_before=f"{OTHER_NUMBER_BEFORE}|{BEFORE_CODE}",
            # An extension may follow: x45, ext 45.
            exclude_after=f"[a-df-wyz]|e[^x]|x[^0-9 .]|{OTHER_NUMBER_AFTER}|{AFTER_CODE}",
            exclude_column=OTHER_NUMBER_COLUMN,
        ),
        # Parentheses are not written in other numbers.
        PiiPattern(
            rf"(?:\+?1[-._ ]{{0,2}})?\({_AREA}\)[-._ ]{{0,2}}{_BREAK}{_EXCHANGE}[-._ ]{{0,2}}{_BREAK}[0-9]{{4}}"
        ),
        # E.164 of North America, and of other countries.
        PiiPattern(
            rf"\+ ?1[-._ (]{{0,2}}[2-9][0-9]{{2}}[-._ )]{{0,2}}{_BREAK}[0-9]{{3}}[-._ ]?{_BREAK}[0-9]{{4}}",
            not_before="[0-9a-z+]",
        ),
        PiiPattern(r"\+[2-9][0-9]{0,2}[-._ ]?\(?[0-9]{1,4}\)?(?:[-._ ]?[0-9]{2,4}){3,4}", not_before="[0-9a-z+]"),
        # The international prefix in place of the plus sign.
        PiiPattern(
            r"(?:00|011[-. ])[2-9][0-9]{1,2}[. ]\(?[0-9]{1,4}\)?(?:[-. ]?[0-9]{2,4}){2,4}",
            not_before="[-0-9a-z.+$]",
            exclude_before=rf"[0-9][ \n]|{OTHER_NUMBER_BEFORE}",
        ),
        PiiPattern(f"(?:{_PHONE_TEN}|{_PHONE_SEVEN})", label=_PHONE_LABEL, not_before=LETTER),
        # Seven digits behind more words may be an amount: `call volume was 1234567`.
        PiiPattern(
            _PHONE_TEN, label=f"{_PHONE_WORDS}{FAR}{GAP}", not_before=LETTER, exclude_before=OTHER_NUMBER_BEFORE
        ),
        PiiPattern(
            r"0[0-9]{1,4}[-. ](?:[0-9]{2,4}[-. ]?){1,3}[0-9]{2,4}",
            label=_PHONE_LABEL,
            not_before=LETTER,
            # The head of a table, whose first column is another one.
            exclude_before=r"[\r\n]",
        ),
        PiiPattern(rf"(?:{_AREA}{_EXCHANGE}[0-9]{{4}}|[0-9]{{3}}-[0-9]{{4}})", label=_CONTACT_LABEL, not_before=LETTER),
        PiiPattern(
            f"(?:{_PHONE_TEN}|{_PHONE_SEVEN})", column_pattern=r"phone|mobile|(?:^|[^a-z])(?:tel|cell|fax)(?:$|[^a-z])"
        ),
    ),
)

_MAIL_ATOM = r"[^ \t\r\n@<>(),;:\"'/.]"
_MAIL = Detector(
    "email",
    (
        PiiPattern(
            # An apostrophe within a name belongs to the address, one around it does not.
            rf"(?:{_MAIL_ATOM}|\.|[a-z]'[a-z]){{1,64}}@(?:{_MAIL_ATOM}{{1,63}}\.){{1,8}}[a-z]{{2,24}}",
            not_before="",
            not_after="",
        ),
    ),
)

_CARD_START = r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|35[0-9]{2}|6(?:011|5[0-9]{2}|4[4-9][0-9]|2[0-9]{2}))"
_CARD_GROUPED = (
    rf"(?:{_CARD_START}(?:[-._ \n][0-9]{{4}}){{3}}|3[47][0-9]{{2}}[-._ \n][0-9]{{6}}[-._ \n][0-9]{{5}}"
    r"|3(?:0[0-5]|[68][0-9])[0-9][-._ \n][0-9]{6}[-._ \n][0-9]{4})"
)
_CARD_BARE = rf"(?:{_CARD_START}[0-9]{{12}}|3[47][0-9]{{13}}|3(?:0[0-5]|[68][0-9])[0-9]{{11}})"
_CARD = Detector(
    "card",
    (
        # A word such as `order` does not exclude it: no other number is written in these groups.
        PiiPattern(_CARD_GROUPED, not_before=WORD, not_after=WORD, exclude_before=r"[0-9]{2,4}[- ]"),
        PiiPattern(
            _CARD_BARE,
            not_before=WORD,
            not_after=WORD,
            exclude_before=f"{OTHER_NUMBER_BEFORE}|{BEFORE_CODE}",
            exclude_after=f"{OTHER_NUMBER_AFTER}|{AFTER_CODE}",
            exclude_column=OTHER_NUMBER_COLUMN,
        ),
        PiiPattern(
            f"(?:{_CARD_GROUPED}|{_CARD_BARE})",
            label=rf"(?:card|visa|mastercard|amex|discover|pan|cc)(?: (?:no|number|is))?{GAP}",
            not_before=LETTER,
        ),
        PiiPattern(_CARD_BARE, column_pattern=r"card|(?:^|[^a-z])(?:pan|cc)(?:$|[^a-z])"),
    ),
    checksum=LuhnChecksum(),
)

_IBAN_GROUP = r"(?:[0-9][0-9a-z]{3}|[a-z][0-9][0-9a-z]{2}|[a-z]{2}[0-9][0-9a-z]|[a-z]{3}[0-9])"
_IBAN = Detector(
    "iban",
    (
        PiiPattern(
            rf"[a-z]{{2}}[0-9]{{2}}[-_ \n]?[0-9a-z]{{4}}(?:[-_ \n]?{_IBAN_GROUP}){{1,6}}"
            r"(?:[-_ \n]?[0-9][0-9a-z]{0,2})?",
            not_before=WORD,
            not_after=WORD,
        ),
    ),
    checksum=IbanChecksum(),
)

_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_HEX = r"[0-9a-f]{1,4}"
# One group of a shortened address has a digit: `add::face` is a name in a program.
_HEX_WITH_DIGIT = r"[0-9a-f]{0,3}[0-9][0-9a-f]{0,3}"
_VERSION = (
    r"(?:^|[^a-z])(?:v|ver|version|versions|build|release|rev|revision|firmware|fw|kernel|driver|software|section|sec"
    r"|clause|chapter|paragraph|figure|fig|oid|app)(?:[ _]?(?:no|number|is|to|from))?[^0-9a-z]{0,3}|[a-z][/_-]|\u00a7 ?"
)
_IP_ADDRESS = Detector(
    "ip_address",
    (
        PiiPattern(
            _IPV4,
            not_before="[0-9a-z.]",
            exclude_before=_VERSION,
            exclude_after=r"\.[0-9]|[-+_]?[a-z]",
            exclude_column=r"version|release|firmware|build",
        ),
        PiiPattern(_IPV4, label=rf"ip(?: ?addr(?:ess)?)?{GAP}", not_before=LETTER),
        PiiPattern(rf"::(?:ffff:(?:0:)?)?{_IPV4}", not_before="[0-9a-z:]"),
        PiiPattern(rf"(?:{_HEX}:){{7}}{_HEX}", not_before="[0-9a-z:]", not_after="[0-9a-z:]"),
        PiiPattern(
            rf"{_HEX_WITH_DIGIT}:(?:{_HEX}:){{0,5}}(?::{_HEX}){{1,6}}", not_before="[0-9a-z:]", not_after="[0-9a-z:]"
        ),
        PiiPattern(
            rf"(?:{_HEX}:){{1,6}}(?::{_HEX}){{0,5}}:{_HEX_WITH_DIGIT}", not_before="[0-9a-z:]", not_after="[0-9a-z:]"
        ),
    ),
)

_URL = Detector(
    "url",
    (PiiPattern(r"(?:https?://|s?ftps?://|www\.)[^ \t\r\n<>\"']+", not_before=WORD, not_after=""),),
)

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_YEAR = r"(?:[0-9]{4}|'?[0-9]{2})"
_DATE = (
    rf"(?:[0-9]{{4}} ?[-/._] ?{_BREAK}[0-9]{{1,2}} ?[-/._] ?{_BREAK}[0-9]{{1,2}}"
    rf"|[0-9]{{1,2}} ?[-/._] ?{_BREAK}[0-9]{{1,2}} ?[-/._] ?{_BREAK}{_YEAR}"
    r"|[0-9]{1,2} [0-9]{1,2} (?:19|20)[0-9]{2}"
    # Without separators: year first, year last (a leading zero may be lost), two digits of the year.
    r"|(?:19|20)[0-9]{6}|[0-3]?[0-9][0-3][0-9](?:19|20)[0-9]{2}|[0-3][0-9][0-3][0-9][0-9]{2}"
    rf"|{_MONTH}[-/_ \n]{{0,2}}[0-9]{{1,2}}(?:st|nd|rd|th)?,?[-/_ \n]{{1,2}}{_YEAR}"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?(?: of)?[-/_. \n]{{0,2}}{_MONTH},?[-/_ \n]{{0,2}}{_YEAR}"
    rf"|[0-9]{{4}}[-/_. ]{{0,2}}{_MONTH}[-/_ ]{{0,2}}[0-9]{{1,2}})"
)
_BIRTH_WORDS = r"(?:d\.? ?o\.? ?b\.?|date[ _-]?of[ _-]?birth|birth(?:[ _-]?(?:date|day|dt))?|b[-_ ]?day|born)"
_BIRTH_LABEL = (
    rf"(?:{PERSON}?{_BIRTH_WORDS}(?:{FAR}"
    rf"|(?:[^0-9a-z\]]{{1,3}}(?:is|was|on|the|listed|as|given|recorded|confirmed|verified|mm|dd|yyyy|yy|mmm|{PERSON}"
    rf"|(?:for|of|in) [a-z'-]{{1,15}}(?: [a-z'-]{{1,15}})?)){{0,4}}){GAP}|b\. ?)"
)
_BIRTH_DATE = Detector(
    "birth_date",
    (
        PiiPattern(_DATE, label=_BIRTH_LABEL, not_before=LETTER),
        PiiPattern(
            _DATE, label_after=rf"(?: ?\(| (?:is|as) (?:(?:the|her|his|their|my) )?){_BIRTH_WORDS}", not_after=LETTER
        ),
        PiiPattern(_DATE, column_pattern=BIRTH_DATE_COLUMN),
    ),
)

CORE = DetectorPack((_CARD, _IBAN, _PHONE, _MAIL, _URL, _IP_ADDRESS, _BIRTH_DATE))
