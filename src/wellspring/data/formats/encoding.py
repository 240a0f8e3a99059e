"""Check the encoding of a text file: UTF-8 without NUL bytes; a byte order mark is removed."""

from __future__ import annotations

from wellspring.data.formats.parsed import file_refused
from wellspring.records.verdict import Reason

_BOM = b"\xef\xbb\xbf"
_UTF16_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


def check_encoding(content: bytes, subject: str) -> tuple[bytes, tuple[Reason, ...]]:
    """Return the bytes without a byte order mark, and the findings. Raises Refused if they are not text, or empty."""
    for mark, name in _UTF16_MARKS:
        if content.startswith(mark):
            raise file_refused(subject, Reason(code="not_utf8", message=f"it is {name}, not UTF-8"))
    findings: tuple[Reason, ...] = ()
    if content.startswith(_BOM):
        content = content[len(_BOM) :]
        findings = (Reason(code="bom", message="it begins with a UTF-8 byte order mark, which was removed", count=1),)
    if not content or content.isspace():
        raise file_refused(subject, Reason(code="empty_file", message="it is empty", count=0))
    if (nul := content.count(b"\0")) > 0:
        start = content[:4096]
        # ASCII text in UTF-16 has a zero in every second byte.
        if max(start[::2].count(0), start[1::2].count(0)) * 4 > len(start):
            raise file_refused(
                subject, Reason(code="not_utf8", message="it is UTF-16 without a byte order mark, not UTF-8")
            )
        raise file_refused(subject, Reason(code="not_text", message=f"it contains {nul} NUL bytes", count=nul))
    return content, findings
