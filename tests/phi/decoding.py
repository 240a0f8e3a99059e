"""Decode escapes, percent-encoding, base64, hex and UTF-16: bytes in, more bytes to search out."""

from __future__ import annotations

import binascii
import html
import re
import urllib.parse
from collections.abc import Iterator

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_WRAPPED = re.compile(rb"(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{40,}(?:\r?\n|\\n))+[A-Za-z0-9+/]+")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){5,}[0-9a-fA-F]?")
_PRINTABLE = re.compile(rb"[\t\r\n\x20-\x7e]{6,}")
_WIDE = re.compile(rb"(?:[\t\r\n\x20-\x7e]\x00){5,}|(?:\x00[\t\r\n\x20-\x7e]){5,}")
_PERCENT = re.compile(rb"%[0-9a-fA-F]{2}")
_ESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[nrt\"'/\\])")
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"'": b"'", b"/": b"/", b"\\": b"\\"}


def decoded(hay: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Yield (how, pieces) for every decoding that changes anything."""
    # Marks of text count only in runs of text: compressed bytes hold each of them somewhere, and every copy of a blob
    # that such a mark called for would be copied for the next one.
    runs = _PRINTABLE.findall(hay)
    ways: dict[str, Iterator[bytes]] = {
        "escapes": (_ESCAPE.sub(_unescape, run) for run in runs if _ESCAPE.search(run)),
        "percent": (urllib.parse.unquote_to_bytes(run) for run in runs if _PERCENT.search(run)),
        "entities": (html.unescape(run.decode("ascii")).encode() for run in runs if b"&#" in run),
        "utf-16": _wide(hay),
        "base64": _base64(hay),
        "hex": _hex(hay),
    }
    for mode, matches in ways.items():
        if pieces := list(matches):
            yield mode, pieces


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1] in b"ux":
        return chr(int(code[1:], 16)).encode("utf-8", "replace")
    return _PLAIN[code]


def _wide(hay: bytes) -> Iterator[bytes]:
    """Decode the runs of UTF-16 that hold plain text; all of it where a byte order mark says what it is."""
    if hay[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        yield hay.decode("utf-16", "ignore").encode("utf-8", "ignore")
    for run in _WIDE.findall(hay):
        yield run.replace(b"\x00", b"")


def _base64(hay: bytes) -> Iterator[bytes]:
    """Decode every run that could be base64, standard or for URLs, from each of its first four characters."""
    runs = [match[0] for match in _BASE64.finditer(hay)]
    runs += [re.sub(rb"\r?\n|\\n", b"", match[0]) for match in _WRAPPED.finditer(hay)]
    for run in dict.fromkeys(runs):
        standard = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            piece = standard[start:]
            # One character over carries six bits, which is no byte.
            piece = piece[: len(piece) - (len(piece) % 4 == 1)]
            yield binascii.a2b_base64(piece + b"=" * (-len(piece) % 4))


def _hex(hay: bytes) -> Iterator[bytes]:
    for match in _HEX.finditer(hay):
        run = match[0]
        for start in (0, 1):
            piece = run[start:]
            yield binascii.unhexlify(piece[: len(piece) // 2 * 2])
