"""The command: `python -m wellspring_verify PACK --key VKEY_OR_FILE [--witness ...] [--answer FILE] [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wellspring_verify import notes
from wellspring_verify.canonical import MalformedError
from wellspring_verify.entry_signature import KEY_NAME_PART
from wellspring_verify.pack import CORRUPTED, REFUSED, UNSIGNED, VERIFIED, VerificationReport, verify_pack

EXIT_USAGE, EXIT_NOT_FOUND = 2, 66


def main(argv: Sequence[str] | None = None) -> int:
    """Verify one pack, print the result, return the exit code: 0, 10, 20, 77; 2: a wrong argument, 66: no pack."""
    parser = argparse.ArgumentParser(
        prog="wellspring verify",
        description="Verify a pack offline. No key is read from the pack: get the keys by another channel.",
        epilog="exit 0: verified; 10: consistent, but --key or --witness is missing; 20: corrupted, with the findings;"
        " 77: evidence of a project in development, without --allow-development",
    )
    parser.add_argument("pack", type=Path, help="the folder of the pack")
    parser.add_argument("--key", help="the log's verifier key, or the file of `wellspring ledger key`")
    parser.add_argument("--witness", help="the witness's verifier key, or a file that contains it")
    parser.add_argument(
        "--answer", type=Path, help="a prediction as the API returned it (JSON), to check against the pack"
    )
    parser.add_argument(
        "--allow-development",
        action="store_true",
        help="accept evidence of a project in development, in which one person releases a model",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    try:
        key, witness = (
            _read_key_option(args.key, notes.KIND_LOG, "--key"),
            _read_key_option(args.witness, notes.KIND_WITNESS, "--witness"),
        )
    except MalformedError as exc:
        print(f"wellspring verify: {exc}", file=sys.stderr)
        return EXIT_USAGE
    try:
        answer = args.answer.read_bytes()[: 2**21] if args.answer else None
    except (OSError, ValueError):
        print(f"wellspring verify: file not found: {str(args.answer)!a}", file=sys.stderr)
        return EXIT_NOT_FOUND
    try:
        report = verify_pack(
            args.pack,
            key=key,
            witness=witness,
            services=_read_service_lines(args.key),
            answer=answer,
            allow_development=args.allow_development,
        )
    except (OSError, ValueError):
        print(f"wellspring verify: folder not found: {str(args.pack)!a}", file=sys.stderr)
        return EXIT_NOT_FOUND
    print(_render_json(report) if args.json else _render_text(report))
    return report.outcome


def _read_key_option(argument: str | None, kind: int, option: str) -> str | None:
    """Return the verifier key in the argument, or the first key of this kind in the file that it names."""
    if argument is None:
        return None
    try:
        return str(_parse_key_of_kind(argument, kind))
    except MalformedError as exc:
        problem = str(exc)
    try:
        content = Path(argument).read_bytes()[: 2**20].decode("utf-8", "replace")
    except (OSError, ValueError):
        raise MalformedError(f"{option} is neither a verifier key ({problem}) nor a readable file") from None
    for line in content.splitlines():
        try:
            return str(_parse_key_of_kind(line.strip(), kind))
        except MalformedError:
            continue
    expected_owner = "the log" if kind == notes.KIND_LOG else "the witness"
    raise MalformedError(f"{option}: the file contains no verifier key of {expected_owner}")


def _read_service_lines(argument: str | None) -> list[str]:
    """Return the lines with the keys of services in the file that --key names; none if it is a key itself."""
    if argument is None or "+" in argument:
        return []
    content = Path(argument).read_bytes()[: 2**20].decode("utf-8", "replace")
    return [line for line in content.splitlines() if KEY_NAME_PART in line]


def _parse_key_of_kind(text: str, kind: int) -> notes.VerifierKey:
    key = notes.parse_verifier_key(text)
    if KEY_NAME_PART in key.name:
        raise MalformedError("it is a key of a service")
    if key.kind != kind:
        raise MalformedError(
            "it is a key of the witness" if key.kind == notes.KIND_WITNESS else "it is a key of the log"
        )
    return key


def _render_text(report: VerificationReport) -> str:
    unchecked = " AND ".join(report.unchecked).upper()
    verdict = {
        VERIFIED: "VERIFIED",
        UNSIGNED: f"CONSISTENT, {unchecked} NOT CHECKED",
        CORRUPTED: "CORRUPTED",
        REFUSED: "REFUSED WITHOUT --allow-development",
    }[report.outcome]
    if report.development:
        verdict += ", DEVELOPMENT"
    lines = [f"{verdict}: {_escape_ascii(report.subject or 'no readable subject')}"]
    lines += [f"  {_escape_ascii(line)}" for line in report.summary]
    lines += [f"  {_escape_ascii(str(finding))}" for finding in report.findings[:50]]
    if len(report.findings) > 50:
        lines.append(f"  and {len(report.findings) - 50} more")
    return "\n".join(lines)


def _render_json(report: VerificationReport) -> str:
    return json.dumps(
        {
            "outcome": report.outcome,
            "subject": report.subject,
            "findings": [
                {"file": _escape_ascii(finding.file), "message": finding.message} for finding in report.findings
            ],
            "summary": report.summary,
            "unchecked": report.unchecked,
            "development": report.development,
        },
        indent=1,
    )


def _escape_ascii(text: str) -> str:
    """Escape text of a pack for a terminal: ASCII only, no control characters, at most 300 characters."""
    return ascii(text)[1:-1][:300]
