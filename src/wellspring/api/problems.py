"""Problem documents (RFC 9457): what an error of this API looks like. They repeat no part of a request."""

from __future__ import annotations

import json

from wellspring.errors import NotFound, Refused, Unavailable, WellspringError
from wellspring.records.record import Frozen


class ProblemDetails(Frozen):
    """A problem document (RFC 9457) with the extension `fix`: how to correct the problem."""

    type: str
    title: str
    status: int
    detail: str
    fix: str


PROBLEM_TITLES = {
    "error": "Internal error",
    "project": "Project configuration error",
    "refused": "Request refused",
    "not-found": "Not found",
    "unavailable": "Dependency unavailable",
    "corrupted": "Integrity check failed",
}


def problem_from_error(error: WellspringError) -> ProblemDetails:
    """Convert an error to a problem document."""
    return ProblemDetails(
        type=f"urn:wellspring:{error.slug}",
        title=PROBLEM_TITLES[error.slug],
        status=status_for_error(error),
        detail=error.what,
        fix=error.fix,
    )


def status_for_error(error: WellspringError) -> int:
    """Map an error to an HTTP status by what the caller can do about it."""
    match error:
        case Refused(verdict=verdict) if verdict is not None and verdict.outcome == "invalid":
            return 422
        case Refused(verdict=verdict) if verdict is not None and verdict.outcome == "inconclusive":
            return 404
        case Refused():
            return 403
        case NotFound():
            return 404
        case Unavailable():
            return 503
        case _:
            return 500


def problem_response(problem: ProblemDetails) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Serialize a problem document to status, headers and body."""
    body = json.dumps(problem.model_dump()).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    return problem.status, headers + ([(b"retry-after", b"1")] if problem.status == 503 else []), body


def malformed_request(detail: str, status: int = 422) -> ProblemDetails:
    """Build the problem document of a malformed request."""
    return ProblemDetails(
        type="urn:wellspring:refused",
        title="Malformed request",
        status=status,
        detail=detail,
        fix='send {"keys": {COLUMN: TOKEN}, "include_reasons": true} as application/json (see docs/api.md)',
    )
