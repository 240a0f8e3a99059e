"""Packs with one change, and what the verifier says about them."""

from __future__ import annotations

from tests.builders.journal_keys import SERVICE_KEY_LINES
from tests.builders.packs import Built
from wellspring_verify import VerificationReport, verify_pack


def check(item: Built) -> VerificationReport:
    return verify_pack(item.folder, key=item.key, witness=item.witness, services=SERVICE_KEY_LINES)


def output(report: VerificationReport) -> str:
    return "\n".join(map(str, report.findings))


def blames(item: Built, name: str) -> None:
    report = check(item)
    assert report.outcome == 20
    assert name in output(report), output(report)


def flipped(content: bytes, bit: int) -> bytes:
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]
