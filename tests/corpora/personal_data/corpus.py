"""A labelled corpus of personal data in texts and columns, made anew from a seed."""

from collections.abc import Iterator
from itertools import count
from random import Random

from tests.corpora.personal_data.births import BIRTH_DATE
from tests.corpora.personal_data.columns import ABSENT, COLUMNS
from tests.corpora.personal_data.contacts import EMAIL, IP_ADDRESS, PHONE, URL
from tests.corpora.personal_data.items import CLAIMED, Item, build_item
from tests.corpora.personal_data.negatives import NEGATIVES
from tests.corpora.personal_data.numbers import CARD, IBAN, MBI, NPI, SSN, Spelling
from tests.corpora.personal_data.people import UNCLAIMED_PHRASES
from tests.corpora.personal_data.texts import FRAMES, REGISTERS, count_labels, framed, value_alone

SPELLINGS: dict[str, dict[str, Spelling]] = {
    "ssn": SSN,
    "phone": PHONE,
    "email": EMAIL,
    "card": CARD,
    "iban": IBAN,
    "ip_address": IP_ADDRESS,
    "url": URL,
    "birth_date": BIRTH_DATE,
    "mbi": MBI,
    "npi": NPI,
}
"""Each claimed kind with its spellings."""
ALONE = {
    "ssn": ("dash",),
    "phone": ("dash", "brackets", "e164", "foreign"),
    "email": ("plain", "upper", "plus"),
    "card": ("space", "dash", "plain"),
    "iban": ("groups", "plain"),
    "ip_address": ("v4", "v6", "v6_exploded"),
    "url": ("scheme", "www", "ftp"),
    "mbi": ("dash", "plain"),
}
"""Spellings that two readers recognize without a label, so that the value can be the whole text."""
BARE_FRAMES = ("{}", "{}.", "({})", '"{}"', "[{}]", "{}, ", "<{}>", "{};", "'{}'", " {} ", "{}\n", ">{}<")
EACH_SPELLING = 5
MIXED = 1000
TABLES = 8
NEGATIVE_TEXTS = 700
EACH_NEGATIVE = 14
EACH_UNCLAIMED = 15
ROWS = 25


def framed_items(rng: Random) -> Iterator[Item]:
    """Write each spelling of each kind in some frames, alone in its text."""
    numbers = count()
    for kind, spellings in SPELLINGS.items():
        for name, spell in spellings.items():
            for _ in range(EACH_SPELLING):
                # Seven is coprime to the number of frames, so that a spelling meets different ones.
                frame = FRAMES[next(numbers) * 7 % len(FRAMES)]
                yield build_item(framed(rng, spell(rng), frame), f"{kind}/{name}")


def bare_items(rng: Random) -> Iterator[Item]:
    """Write values without a word: the whole text, or with punctuation around."""
    for kind, names in ALONE.items():
        for name in names:
            for frame in BARE_FRAMES:
                phrase = value_alone(SPELLINGS[kind][name](rng))
                assert count_labels(phrase) == 1
                yield build_item(framed(rng, phrase, frame), f"{kind}/alone")


def mixed_items(rng: Random) -> Iterator[Item]:
    """Write texts with two to four values, decoys, and sometimes unclaimed kinds."""
    registers = sorted(REGISTERS)
    kinds = [kind for _ in range(MIXED) for kind in rng.sample(CLAIMED, len(CLAIMED))]
    for index in range(MIXED):
        register = registers[index % len(registers)]
        phrases = []
        for _ in range(rng.randint(2, 4)):
            spellings = SPELLINGS[kinds.pop()]
            phrases.append(spellings[rng.choice(sorted(spellings))](rng))
        phrases += [NEGATIVES[name](rng) for name in rng.sample(sorted(NEGATIVES), rng.randint(1, 2))]
        if rng.random() < 0.4:
            phrases.append(UNCLAIMED_PHRASES[rng.choice(sorted(UNCLAIMED_PHRASES))](rng))
        rng.shuffle(phrases)
        yield build_item(REGISTERS[register](rng, phrases), f"mixed/{register}")


def table_items(rng: Random) -> Iterator[Item]:
    """Write tables in text, whose first line labels the values."""
    for index in range(TABLES):
        separator = ",|\t;"[index % 4]
        rows = [
            [SPELLINGS[kind][name](rng) for kind, name in (("ssn", "dash"), ("birth_date", "slash"), ("phone", "dash"))]
            for _ in range(2)
        ]
        lines = ["ssn dob phone".split(), *([value_alone(phrase) for phrase in row] for row in rows)]
        yield build_item("\n".join(separator.join(line) for line in lines), "mixed/table")


def negative_items(rng: Random) -> Iterator[Item]:
    """Write each decoy in some frames, and texts with decoys only."""
    for name, spell in NEGATIVES.items():
        for index in range(EACH_NEGATIVE):
            yield build_item(framed(rng, spell(rng), FRAMES[index % len(FRAMES)]), f"negative/{name}")
    registers = sorted(REGISTERS)
    for index in range(NEGATIVE_TEXTS):
        phrases = [NEGATIVES[name](rng) for name in rng.sample(sorted(NEGATIVES), rng.randint(3, 5))]
        register = registers[index % len(registers)]
        yield build_item(REGISTERS[register](rng, phrases), f"negative/{register}")


def unclaimed_items(rng: Random) -> Iterator[Item]:
    """Write each unclaimed kind in some frames."""
    for kind, spell in UNCLAIMED_PHRASES.items():
        for index in range(EACH_UNCLAIMED):
            yield build_item(framed(rng, spell(rng), FRAMES[index % len(FRAMES)]), f"unclaimed/{kind}")


def column_items(rng: Random) -> Iterator[Item]:
    """Write the values of each column; one in twelve is absent."""
    for column in COLUMNS:
        for _ in range(ROWS):
            absent = rng.random() < 1 / 12
            markup = column.value(rng) if not absent else rng.choice(ABSENT) if column.convert is str else ""
            yield build_item(markup, column.group, column.name, column.convert)


def build_corpus(seed: int) -> list[Item]:
    """Build all items: texts first, then the columns, the values of one column in a row."""
    parts = (framed_items, bare_items, mixed_items, table_items, negative_items, unclaimed_items, column_items)
    return [item for part in parts for item in part(Random(f"{seed}:{part.__name__}"))]
