"""Compare the globs of two contracts: can one file name match both?"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\*+|\[!?[^\]]+\]|.", re.DOTALL)


def have_common_name(first_glob: str, second_glob: str) -> bool:
    """Return whether a file name matches both globs, without their folders: sources may begin at different ones.

    A class of characters counts as any character, so that the answer is never no for globs with a common name.
    """
    first, second = (tuple(_TOKEN.findall(glob.rpartition("/")[2])) for glob in (first_glob, second_glob))

    # matches[j]: whether the tokens of the first glob from here on, and of the second from j on, have a common text.
    matches = _match_rest([False] * (len(second) + 1), "", second, is_end=True)
    for token in reversed(first):
        matches = _match_rest(matches, token, second, is_end=False)
    return matches[0]


def _match_rest(after: list[bool], token: str, tokens: tuple[str, ...], *, is_end: bool) -> list[bool]:
    """Return the matches of one more token. after: without it. is_end: at the end of the text, without a token."""
    matches = [*after[:-1], is_end or (token.startswith("*") and after[-1])]
    for position in reversed(range(len(tokens))):
        if token.startswith("*"):
            matches[position] = after[position] or matches[position + 1]
        elif tokens[position].startswith("*"):
            matches[position] = matches[position + 1] or (not is_end and after[position])
        else:
            is_shared = not is_end and _share_character(token, tokens[position])
            matches[position] = is_shared and after[position + 1]
    return matches


def _share_character(first_token: str, second_token: str) -> bool:
    tokens = (first_token, second_token)
    return first_token == second_token or any(len(mark) > 1 or mark == "?" for mark in tokens)
