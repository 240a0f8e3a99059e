"""Characters that hide a value from a search for ASCII, and that a reader does not see."""

import re
from random import Random

FULL_WIDTH = {ord(digit): 0xFF10 + int(digit) for digit in "0123456789"}
INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad")
"""Zero-width space, non-joiner and joiner, word joiner, byte order mark, soft hyphen."""
SPACES = ("\u00a0", "\u202f", "\u2009")
"""No-break space, narrow no-break space, thin space."""
HYPHENS = ("\u2010", "\u2011", "\u2013", "\u2212")
"""Hyphen, no-break hyphen, en dash, minus sign."""


def widen_digits(text: str) -> str:
    """Replace ASCII digits by full-width digits."""
    return text.translate(FULL_WIDTH)


def insert_invisible(rng: Random, text: str) -> str:
    """Insert one or two invisible characters inside a value."""
    for _ in range(rng.randint(1, 2)):
        place = rng.randint(1, len(text) - 1)
        text = text[:place] + rng.choice(INVISIBLE) + text[place:]
    return text


def replace_spaces(rng: Random, text: str) -> str:
    """Replace spaces by spaces of another width."""
    return text.replace(" ", rng.choice(SPACES))


def replace_hyphens(rng: Random, text: str) -> str:
    """Replace hyphens by another character that looks like one."""
    return text.replace("-", rng.choice(HYPHENS))


def break_line(rng: Random, text: str) -> str:
    """Break a value behind one of its separators, as a note with a narrow margin does."""
    places = [match.end() for match in re.finditer(r"[- ](?=\w)", text)]
    place = rng.choice(places)
    head = text[:place].removesuffix(" ")
    return head + "\n" + text[place:]
