"""Spellings of numbers behind their labels: social security, card, account, beneficiary and provider numbers.

Each spelling is a function that returns a phrase in markup; its name says what it tests.
"""

from collections.abc import Callable
from random import Random

from tests.corpora.personal_data import disguises
from tests.corpora.personal_data.identifiers import card_digits, iban_text, mbi_text, npi_digits, ssn_parts
from tests.corpora.personal_data.items import mark

Spelling = Callable[[Random], str]

SSN_LABELS = (
    "SSN ", "SSN: ", "SSN:", "SSN=", "SSN - ", "ssn ", "ssn# ", "SS# ", "SS #: ", "ss no. ", "social ", "Social: ",
    "social security number ", "Social Security No. ", "social security # ", "soc sec ", "Soc. Sec. No. ",
    "soc sec # ", "her social is ", "his SSN is ", "SSN on file is ", "social security number is ", "S.S.N. ",
)  # fmt: skip
SSN_CONTEXTS = ("caller gave ", "verified identity with ", "he read out ", "pt identified by ", "member entered ")
CARD_LABELS = (
    "card ",
    "card no. ",
    "Card #: ",
    "CC ",
    "cc# ",
    "credit card ",
    "Visa/MC ",
    "debit card number ",
    "PAN ",
)
CARD_CONTEXTS = ("paid with ", "charged to ", "copay put on ", "refund to ")
IBAN_LABELS = ("IBAN ", "IBAN: ", "iban=", "IBAN no. ", "refund account IBAN ", "bank IBAN - ")
IBAN_CONTEXTS = ("transfer to ", "wire the refund to ", "pay into ")
MBI_LABELS = (
    "MBI ", "MBI: ", "mbi=", "MBI# ", "Medicare ID ", "Medicare number ", "Medicare # ", "Medicare no. ",
    "Medicare beneficiary identifier ", "her Medicare number is ",
)  # fmt: skip
MBI_CONTEXTS = ("eligibility checked for ", "member presented ", "on the red-white-blue card: ")
NPI_LABELS = (
    "NPI ", "NPI: ", "NPI:", "NPI# ", "npi=", "NPI no. ", "National Provider Identifier ", "rendering NPI ",
    "billing provider NPI ", "NPI number is ", "NPI - ", "N.P.I. ", "referring NPI: ",
)  # fmt: skip


def behind(labels: tuple[str, ...], kind: str, value: Spelling) -> Spelling:
    """Put a label in front of a value."""
    return lambda rng: rng.choice(labels) + mark(kind, value(rng))


def before(labels: tuple[str, ...], kind: str, value: Spelling) -> Spelling:
    """Put a label in brackets behind a value, with words in front."""
    return lambda rng: (
        f"{rng.choice(['on file', 'verified', 'updated'])} {mark(kind, value(rng))} ({rng.choice(labels)})"
    )


def below(labels: tuple[str, ...], kind: str, value: Spelling) -> Spelling:
    """Put a label on the line above a value."""
    return lambda rng: rng.choice(labels).rstrip() + "\n" + mark(kind, value(rng))


def listed(label: str, kind: str, value: Spelling) -> Spelling:
    """Put two or three values behind one label."""
    return lambda rng: label + ", ".join(mark(kind, value(rng)) for _ in range(rng.randint(2, 3)))


def keyed(keys: tuple[str, ...], kind: str, value: Spelling) -> Spelling:
    """Write a value as a member of a JSON object or as a pair of a log line."""

    def spell(rng: Random) -> str:
        form = rng.choice(['"{}": "{}"', '"{}":"{}"', "{}={}", "'{}': '{}'", '{}="{}"', "{}={};"])
        return form.format(rng.choice(keys), mark(kind, value(rng)))

    return spell


def changed(value: Spelling, change: Callable[[Random, str], str]) -> Spelling:
    """Apply a disguise to a value."""
    return lambda rng: change(rng, value(rng))


def joined_ssn(separator: str) -> Spelling:
    """Spell a social security number with a separator."""
    return lambda rng: separator.join(ssn_parts(rng))


def grouped(text: Spelling, separator: str, sizes: tuple[int, ...] = (4,)) -> Spelling:
    """Cut a text into groups; the last size repeats."""

    def spell(rng: Random) -> str:
        rest, groups, index = text(rng), [], 0
        while rest:
            size = sizes[min(index, len(sizes) - 1)]
            groups.append(rest[:size])
            rest, index = rest[size:], index + 1
        return separator.join(groups)

    return spell


def grouped_card(separator: str) -> Spelling:
    """Spell a card number in its usual groups: 4-6-5 for fifteen digits, else fours."""

    def spell(rng: Random) -> str:
        digits = card_digits(rng)
        return grouped(lambda _: digits, separator, (4, 6, 5) if len(digits) == 15 else (4,))(rng)

    return spell


def widen(_: Random, text: str) -> str:
    """Widen digits, with the signature of a disguise."""
    return disguises.widen_digits(text)


def spaced_digits(rng: Random) -> str:
    """Spell a social security number as boxes of a form are read: a blank between all characters."""
    return " ".join("-".join(ssn_parts(rng)))


SSN_KEYS = ("ssn", "SSN", "member_ssn", "patientSsn", "social_security_number")
SSN: dict[str, Spelling] = {
    "dash": behind(SSN_LABELS, "ssn", joined_ssn("-")),
    "dash_bare": behind(SSN_CONTEXTS, "ssn", joined_ssn("-")),
    "space": behind(SSN_LABELS, "ssn", joined_ssn(" ")),
    "space_bare": behind(SSN_CONTEXTS, "ssn", joined_ssn(" ")),
    "dot": behind(SSN_LABELS, "ssn", joined_ssn(".")),
    "slash": behind(SSN_LABELS, "ssn", joined_ssn("/")),
    "underscore": behind(SSN_LABELS, "ssn", joined_ssn("_")),
    "underscore_bare": behind(SSN_CONTEXTS, "ssn", joined_ssn("_")),
    "plain": behind(SSN_LABELS, "ssn", joined_ssn("")),
    "spaced_dash": behind(SSN_LABELS, "ssn", joined_ssn(" - ")),
    "spaced_digits": behind(SSN_LABELS, "ssn", spaced_digits),
    "glued": behind(("SSN", "ssn", "SS#"), "ssn", joined_ssn("-")),
    "glued_plain": behind(("SSN", "ssn", "SS#"), "ssn", joined_ssn("")),
    "far": behind(
        ("SSN as confirmed by the caller: ", "social security number on the new form is "), "ssn", joined_ssn("")
    ),
    "label_after": before(("SSN", "ssn", "social security number"), "ssn", joined_ssn("-")),
    "label_above": below(SSN_LABELS, "ssn", joined_ssn("-")),
    "label_above_plain": below(("SSN:", "Social Security Number", "SS#"), "ssn", joined_ssn("")),
    "full_width": behind(SSN_LABELS, "ssn", changed(joined_ssn("-"), widen)),
    "invisible": behind(SSN_LABELS, "ssn", changed(joined_ssn("-"), disguises.insert_invisible)),
    "wide_space": behind(SSN_LABELS, "ssn", changed(joined_ssn(" "), disguises.replace_spaces)),
    "other_hyphen": behind(SSN_LABELS, "ssn", changed(joined_ssn("-"), disguises.replace_hyphens)),
    "broken_line": behind(SSN_LABELS, "ssn", changed(joined_ssn("-"), disguises.break_line)),
    "list": listed("SSNs ", "ssn", joined_ssn("-")),
    "key": keyed(SSN_KEYS, "ssn", joined_ssn("-")),
    "key_plain": keyed(SSN_KEYS, "ssn", joined_ssn("")),
}
CARD: dict[str, Spelling] = {
    "space": behind(CARD_LABELS, "card", grouped_card(" ")),
    "space_bare": behind(CARD_CONTEXTS, "card", grouped_card(" ")),
    "dash": behind(CARD_LABELS, "card", grouped_card("-")),
    "dash_bare": behind(CARD_CONTEXTS, "card", grouped_card("-")),
    "plain": behind(CARD_LABELS, "card", card_digits),
    "plain_bare": behind(CARD_CONTEXTS, "card", card_digits),
    "dot": behind(CARD_LABELS, "card", grouped_card(".")),
    "expiry": lambda rng: (
        f"card {mark('card', grouped_card(' ')(rng))} exp {rng.randint(1, 12):02d}/{rng.randint(26, 31)}"
    ),
    "full_width": behind(CARD_LABELS, "card", changed(grouped_card(" "), widen)),
    "invisible": behind(CARD_LABELS, "card", changed(grouped_card(" "), disguises.insert_invisible)),
    "wide_space": behind(CARD_LABELS, "card", changed(grouped_card(" "), disguises.replace_spaces)),
    "other_hyphen": behind(CARD_LABELS, "card", changed(grouped_card("-"), disguises.replace_hyphens)),
    "broken_line": behind(CARD_LABELS, "card", changed(grouped_card(" "), disguises.break_line)),
    "label_above": below(CARD_LABELS, "card", grouped_card(" ")),
    "key": keyed(("card", "card_number", "cardNumber", "pan"), "card", card_digits),
}
IBAN: dict[str, Spelling] = {
    "groups": behind(IBAN_LABELS, "iban", grouped(iban_text, " ")),
    "groups_bare": behind(IBAN_CONTEXTS, "iban", grouped(iban_text, " ")),
    "plain": behind(IBAN_LABELS, "iban", iban_text),
    "plain_bare": behind(IBAN_CONTEXTS, "iban", iban_text),
    "dash": behind(IBAN_LABELS, "iban", grouped(iban_text, "-")),
    "lower": behind(IBAN_LABELS, "iban", lambda rng: iban_text(rng).lower()),
    "full_width": behind(IBAN_LABELS, "iban", changed(iban_text, widen)),
    "invisible": behind(IBAN_LABELS, "iban", changed(iban_text, disguises.insert_invisible)),
    "wide_space": behind(IBAN_LABELS, "iban", changed(grouped(iban_text, " "), disguises.replace_spaces)),
    "broken_line": behind(IBAN_LABELS, "iban", changed(grouped(iban_text, " "), disguises.break_line)),
    "label_above": below(IBAN_LABELS, "iban", grouped(iban_text, " ")),
    "key": keyed(("iban", "IBAN", "refund_iban"), "iban", iban_text),
}
MBI: dict[str, Spelling] = {
    "dash": behind(MBI_LABELS, "mbi", grouped(mbi_text, "-", (4, 3, 4))),
    "dash_bare": behind(MBI_CONTEXTS, "mbi", grouped(mbi_text, "-", (4, 3, 4))),
    "plain": behind(MBI_LABELS, "mbi", mbi_text),
    "plain_bare": behind(MBI_CONTEXTS, "mbi", mbi_text),
    "space": behind(MBI_LABELS, "mbi", grouped(mbi_text, " ", (4, 3, 4))),
    "lower": behind(MBI_LABELS, "mbi", lambda rng: mbi_text(rng).lower()),
    "full_width": behind(MBI_LABELS, "mbi", changed(mbi_text, widen)),
    "invisible": behind(MBI_LABELS, "mbi", changed(mbi_text, disguises.insert_invisible)),
    "wide_space": behind(MBI_LABELS, "mbi", changed(grouped(mbi_text, " ", (4, 3, 4)), disguises.replace_spaces)),
    "other_hyphen": behind(MBI_LABELS, "mbi", changed(grouped(mbi_text, "-", (4, 3, 4)), disguises.replace_hyphens)),
    "label_after": before(("MBI", "Medicare number"), "mbi", mbi_text),
    "label_above": below(MBI_LABELS, "mbi", mbi_text),
    "key": keyed(("mbi", "MBI", "medicare_id", "beneficiaryId"), "mbi", mbi_text),
}
NPI: dict[str, Spelling] = {
    "plain": behind(NPI_LABELS, "npi", npi_digits),
    "in_brackets": lambda rng: f"Dr. {mark('name', 'Ashgrove')} (NPI {mark('npi', npi_digits(rng))})",
    "glued": behind(("NPI", "NPI#", "npi"), "npi", npi_digits),
    "far": behind(("NPI of the rendering provider is ", "NPI on the claim: "), "npi", npi_digits),
    "label_after": before(("NPI", "npi", "rendering NPI"), "npi", npi_digits),
    "label_above": below(NPI_LABELS, "npi", npi_digits),
    "list": listed("NPIs ", "npi", npi_digits),
    "full_width": behind(NPI_LABELS, "npi", changed(npi_digits, widen)),
    "invisible": behind(NPI_LABELS, "npi", changed(npi_digits, disguises.insert_invisible)),
    "wide_space_label": lambda rng: f"NPI\u00a0{mark('npi', npi_digits(rng))}",
    "key": keyed(("npi", "NPI", "rendering_npi", "billingProviderNpi"), "npi", npi_digits),
}
