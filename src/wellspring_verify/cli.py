"""The command: `python -m wellspring_verify PACK --key VKEY_OR_FILE [--witness ...] [--answer FILE] [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wellspring_verify import notes
from wellspring_verify.canonical import Malformed
from wellspring_verify.pack import BROKEN, UNSIGNED, VERIFIED, Report, verify

USAGE, NOT_FOUND = 2, 66


def main(argv: Sequence[str] | None = None) -> int:
    """Check one pack, say what was found, return the exit code: 0, 10, 20; 2 for a wrong argument, 66 for no pack."""
    parser = argparse.ArgumentParser(
        prog="wellspring verify",
        description="Check a pack offline. No key is taken from the pack: get the keys from the house, another way.",
        epilog="exit 0: verified; 10: consistent, but the signer was not checked; 20: broken, and named",
    )
    parser.add_argument("pack", type=Path, help="the folder to check")
    parser.add_argument("--key", help="the log's verifier key, or a file that holds it")
    parser.add_argument("--witness", help="the witness's verifier key, or a file that holds it")
    parser.add_argument("--answer", type=Path, help="an answer of the API, as JSON, to check against its story")
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    try:
        asked = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE
    try:
        key, witness = _key(asked.key, notes.LOG, "--key"), _key(asked.witness, notes.WITNESS, "--witness")
    except Malformed as wrong:
        print(f"wellspring verify: {wrong}", file=sys.stderr)
        return USAGE
    try:
        answer = asked.answer.read_bytes()[: 2**21] if asked.answer else None
    except (OSError, ValueError):
        print(f"wellspring verify: there is no file {str(asked.answer)!a}", file=sys.stderr)
        return NOT_FOUND
    try:
        report = verify(asked.pack, key=key, witness=witness, answer=answer)
    except (OSError, ValueError):
        print(f"wellspring verify: there is no folder {str(asked.pack)!a}", file=sys.stderr)
        return NOT_FOUND
    print(_as_json(report) if asked.json else _as_text(report))
    return report.outcome


def _key(given: str | None, kind: int, option: str) -> str | None:
    """Return the verifier key that was given, or the first one of its kind in the file that was named."""
    if given is None:
        return None
    try:
        return str(_of_kind(given, kind))
    except Malformed as wrong:
        problem = str(wrong)
    try:
        content = Path(given).read_bytes()[: 2**20].decode("utf-8", "replace")
    except (OSError, ValueError):
        raise Malformed(f"{option} is neither a verifier key ({problem}) nor a file that can be read") from None
    for line in content.splitlines():
        try:
            return str(_of_kind(line.strip(), kind))
        except Malformed:
            continue
    whose = "the log" if kind == notes.LOG else "the witness"
    raise Malformed(f"{option}: the file holds no verifier key of {whose}")


def _of_kind(text: str, kind: int) -> notes.Key:
    key = notes.parse_key(text)
    if key.kind != kind:
        raise Malformed("it is a key of the witness" if key.kind == notes.WITNESS else "it is a key of the log")
    return key


def _as_text(report: Report) -> str:
    word = {VERIFIED: "VERIFIED", UNSIGNED: "CONSISTENT, SIGNER NOT CHECKED", BROKEN: "BROKEN"}[report.outcome]
    lines = [f"{word}: {_plain(report.subject or 'no subject that could be read')}"]
    lines += [f"  {_plain(line)}" for line in report.summary]
    lines += [f"  {_plain(str(finding))}" for finding in report.findings[:50]]
    if len(report.findings) > 50:
        lines.append(f"  and {len(report.findings) - 50} more")
    return "\n".join(lines)


def _as_json(report: Report) -> str:
    return json.dumps(
        {
            "outcome": report.outcome,
            "subject": report.subject,
            "findings": [{"file": _plain(finding.file), "what": finding.what} for finding in report.findings],
            "summary": report.summary,
        },
        indent=1,
    )


def _plain(text: str) -> str:
    """Show text of a pack that may be hostile: ASCII only, nothing that acts on a terminal, not endless."""
    return ascii(text)[1:-1][:300]
