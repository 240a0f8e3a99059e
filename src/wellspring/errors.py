"""Every error wellspring raises; catch by what you can do about it.

WellspringError(what, fix=...)
├── ProjectError    wellspring.toml or a contract is wrong   -> edit it
├── Refused         policy, contract or gate said no         -> ask a person (.verdict)
├── NotFound        no such name, version or digest          -> check the name
├── Unavailable     a server or a package is not there       -> start it, or retry later
└── Broken          bytes or proof do not match              -> stop; never retry

The doors map these to exit codes and HTTP problems (`exit_code`, `slug`); nothing here knows a door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from wellspring.records.verdict import Verdict


class WellspringError(Exception):
    """One thing that went wrong: `what` and where, and `fix`, how to mend it; each one to three lines."""

    slug: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


class ProjectError(WellspringError):
    """wellspring.toml or a contract is wrong; `what` lists every problem, one a line, with file and line."""

    slug = "project"
    exit_code = 78


class Refused(WellspringError):
    """A judgement said no, and the step needed a yes."""

    slug = "refused"
    exit_code = 77

    def __init__(self, what: str, *, fix: str, verdict: Verdict | None = None) -> None:
        super().__init__(what, fix=fix)
        self.verdict = verdict


class NotFound(WellspringError):
    """No such name, version or digest; `fix` holds the nearest known name where there is one."""

    slug = "not-found"
    exit_code = 66


class Unavailable(WellspringError):
    """A server did not answer, or a package has no wheel here: start it, or try again later."""

    slug = "unavailable"
    exit_code = 69


class CorruptedError(WellspringError):
    """Bytes or a proof do not match what was recorded: stop, keep everything, never retry."""

    slug = "corrupted"
    exit_code = 20


ERRORS_BY_SLUG: dict[str, type[WellspringError]] = {
    kind.slug: kind for kind in (WellspringError, ProjectError, Refused, NotFound, Unavailable, CorruptedError)
}
