"""Define every error that wellspring raises, one class for each action that the caller can take.

WellspringError(what, fix=...)
├── ProjectError    wellspring.toml or a contract is invalid -> edit it
├── Refused         a policy, contract or gate refuses       -> see .verdict; ask for approval
├── NotFound        no such name, version or digest          -> check the name
├── Unavailable     a server or a package is missing         -> start it, or retry later
└── CorruptedError  bytes or a proof do not match            -> stop; never retry

The command line and the API map these to exit codes and HTTP problems (`exit_code`, `slug`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from wellspring.records.verdict import Verdict, VerdictOutcome


class WellspringError(Exception):
    """Carry `what` (the problem and its place) and `fix` (how to correct it); each has one to three lines."""

    slug: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


class ProjectError(WellspringError):
    """wellspring.toml or a contract is invalid; `what` lists every problem with file and line, one per line."""

    slug = "project"
    exit_code = 78


class Refused(WellspringError):
    """A policy, contract, gate or login refuses the step; `verdict` holds the reasons where there are any."""

    slug = "refused"
    exit_code = 77

    def __init__(self, what: str, *, fix: str, verdict: Verdict | None = None) -> None:
        super().__init__(what, fix=fix)
        self.verdict = verdict

    @classmethod
    def because(
        cls,
        subject: str,
        code: str,
        message: str,
        *,
        fix: str,
        what: str | None = None,
        outcome: VerdictOutcome = "fail",
        count: int | None = None,
    ) -> Self:
        """Build the refusal of one subject for one reason. what: the text of the error, if it is not the message."""
        from wellspring.records.verdict import Reason, Verdict

        reason = Reason(code=code, message=message, count=count)
        verdict = Verdict(subject=subject, outcome=outcome, reasons=(reason,))
        return cls(what or message, fix=fix, verdict=verdict)


class NotFound(WellspringError):
    """A name, version or digest does not exist; `fix` holds the nearest existing name where there is one."""

    slug = "not-found"
    exit_code = 66


class Unavailable(WellspringError):
    """A server does not respond, or a package has no wheel for this machine; a retry may succeed."""

    slug = "unavailable"
    exit_code = 69


class CorruptedError(WellspringError):
    """Bytes or a proof do not match the record; stop, keep all files, never retry."""

    slug = "corrupted"
    exit_code = 20


ERRORS_BY_SLUG: dict[str, type[WellspringError]] = {
    kind.slug: kind for kind in (WellspringError, ProjectError, Refused, NotFound, Unavailable, CorruptedError)
}


_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that Unicode calls printable and that a terminal shows as nothing."""


def escape_text(text: str) -> str:
    """Escape what a terminal would act on or not show: control, format and bidi characters, every line separator.

    Names and texts that a vendor or a server chose pass through it before they reach a terminal or a log.
    """
    if text.isprintable() and _INVISIBLE.search(text) is None:
        return text
    return "".join(
        character
        if character.isprintable() and _INVISIBLE.match(character) is None
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def format_error(slug: str, what: str, fix: str) -> str:
    """Format an error for a terminal or a log: escaped, and each further line indented, so that no text adds a line
    that looks like another message."""
    return "\n".join([*_format_message(f"{slug}: {what}"), *_format_message(f"fix: {fix}")])


def _format_message(text: str) -> list[str]:
    first, *further = (escape_text(line) for line in text.split("\n"))
    return [first, *(line if line.startswith("  ") else f"  {line}" for line in further)]


def describe_install(extra: str) -> str:
    """Return how an extra of wellspring is installed: from a checkout, because it is not on PyPI yet."""
    return f"in your checkout of wellspring: pip install '.[{extra}]'"


def package_missing(package: str, extra: str) -> Unavailable:
    """Return the error for a package that is not installed. extra: of wellspring, which brings the package."""
    return Unavailable(f"{package} is not installed", fix=describe_install(extra))


def encode_error(error: WellspringError) -> dict[str, Any]:
    """Encode an error as JSON, for another process of wellspring."""
    verdict = error.verdict if isinstance(error, Refused) else None
    return {
        "slug": error.slug,
        "what": error.what,
        "fix": error.fix,
        "verdict": None if verdict is None else verdict.model_dump(mode="json"),
    }


def decode_error(message: Mapping[str, Any]) -> WellspringError:
    """Decode an error: the same class, texts and verdict. An unknown class is a WellspringError."""
    error_type = ERRORS_BY_SLUG.get(str(message.get("slug")), WellspringError)
    what, fix, verdict = str(message.get("what", "")), str(message.get("fix", "")), message.get("verdict")
    if error_type is Refused and verdict is not None:
        from wellspring.records.verdict import Verdict

        return Refused(what, fix=fix, verdict=Verdict.model_validate(verdict))
    return error_type(what, fix=fix)


def suggest_name(name: str, candidates: Iterable[str]) -> str:
    """Build the `fix` for a misspelled name: the nearest candidate, else all candidates."""
    names = sorted(candidates)
    matches = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"there is: {', '.join(names) or 'none'}"
