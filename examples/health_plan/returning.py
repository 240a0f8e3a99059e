"""What comes again: a claim sent twice, a second one for the same day, the same care after a denial, a corrected claim.

And the prior authorizations of all claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from examples.health_plan import adjudication, care, draws
    from examples.health_plan.draws import Bools, Draw, Ints
else:
    adjudication, care, draws = (
        importlib.import_module(f"{__package__}.{name}" if __package__ else name)
        for name in ("adjudication", "care", "draws")
    )

DUPLICATES, SAME_DAY, AGAIN, CORRECTED = 0.027, 0.02, 0.25, 0.45
"""Of a month's claims; of a month's denials."""
MENDABLE = np.isin(np.array(adjudication.REASONS), ("4", "11", "16"))
ABOUT_CARE = ~np.isin(np.array(adjudication.REASONS), ("18", "26", "27", "29"))
"""Reasons that stand as long as the same care is asked for; the others are about a day or about paper."""
NEW, DUPLICATE, SAME, REPEAT, MENDED = range(5)
_NEEDED = adjudication.table(adjudication.NEEDED, care.PLANS)


class Past(NamedTuple):
    """Claims of the last months with their outcome.

    reason: a place in REASONS, or -1. kind: how they came about. paper: what the files said of their authorization.
    valid_at: the second from which the files said otherwise.
    """

    visits: care.Visits
    reason: Ints
    known_at: Ints
    kind: Ints
    paper: Ints
    valid_at: Ints

    def since(self, day: int) -> Past:
        """Forget what was received before a day."""
        recent = np.flatnonzero(self.visits.received >= day)
        return Past(care.take(self.visits, recent), *(values[recent] for values in self[1:]))

    def with_more(self, more: Past) -> Past:
        """Remember more."""
        rest = (np.concatenate(pair) for pair in zip(self[1:], more[1:], strict=True))
        return Past(care.together([self.visits, more.visits]), *rest)


class Coming(NamedTuple):
    """A month's claims in the order in which they are recorded. paper is -1 where it is new."""

    visits: care.Visits
    kind: Ints
    paper: Ints
    valid_at: Ints


def come_again(draw: Draw, new: care.Visits, past: Past | None, month: str) -> Coming:
    """Add to a month's new claims those that the past brings."""
    parts, kinds = [new], [np.full(len(new.id), NEW)]
    papers, times = [np.full(len(new.id), -1)], [np.full(len(new.id), draws.NEVER)]
    if past is not None:
        first_day, after = care.month_days(month)
        for kind, places in (
            (DUPLICATE, _some(draw, "twice", _originals(past), int(len(new.id) * DUPLICATES))),
            (SAME, _some(draw, "same day", _originals(past), int(len(new.id) * SAME_DAY))),
            (REPEAT, _repeated(draw, past, first_day)),
            (MENDED, _corrected(draw, past, first_day)),
        ):
            count = len(places)
            part = _changed(draw, care.take(past.visits, places), kind)
            received = draw.whole(f"received {kind}", count, first_day, after)
            part = part._replace(
                received=received,
                second=draw.whole(f"second {kind}", count, 6 * 3600, 20 * 3600),
                note=np.full(len(part.of), -1),
            )
            if kind == REPEAT:
                end = received - draw.whole("again after", count, 1, 20)
                part = part._replace(end=end, start=end - (part.end - part.start))
            parts.append(part)
            kinds.append(np.full(count, kind))
            old = kind in (DUPLICATE, MENDED)
            papers.append(past.paper[places] if old else np.full(count, -1))
            times.append(past.valid_at[places] if old else np.full(count, draws.NEVER))
    every, kind, paper, valid_at = care.together(parts), *(np.concatenate(values) for values in (kinds, papers, times))
    order = np.argsort(every.recorded, kind="stable")
    every = care.take(every, order)
    number = int(month.replace("-", "")) * 10**7 + np.arange(len(order))
    return Coming(every._replace(id=number), kind[order], paper[order], valid_at[order])


def _changed(draw: Draw, visits: care.Visits, kind: int) -> care.Visits:
    """Change what is different this time."""
    count, none_quoted = len(visits.id), np.full(len(visits.id), -1)
    if kind == DUPLICATE:
        return visits._replace(original=none_quoted)
    if kind == REPEAT:
        return visits._replace(original=none_quoted, auth=none_quoted)
    if kind == SAME:
        # Another procedure on a day that was billed already.
        other_code = draw.whole("other", len(visits.of), 1, len(care.CODES))
        code = np.where(visits.code < 0, -1, (visits.code + other_code) % len(care.CODES))
        return visits._replace(original=none_quoted, auth=none_quoted, code=code)
    unmodified = (visits.code >= 0) & care.MODIFIED[visits.code] & (visits.modifier < 0)
    modifier = np.where(unmodified, 0, visits.modifier)
    return visits._replace(original=visits.id, modifier=modifier, dx1=np.zeros(count, np.int64))


def _repeated(draw: Draw, past: Past, first_day: int) -> Ints:
    """Find the denied care that is asked for again, at the same office, for a later day."""
    again = draw.share("again?", len(past.reason)) < AGAIN
    return np.flatnonzero(_denied(past, first_day) & ABOUT_CARE[past.reason] & again)


def _corrected(draw: Draw, past: Past, first_day: int) -> Ints:
    """Find the claims that were denied for how they were written, and are sent again with a number of their own."""
    # The other end of the same draw: what is asked for again is not corrected as well.
    mended = draw.share("again?", len(past.reason)) >= 1 - CORRECTED
    return np.flatnonzero(_denied(past, first_day) & MENDABLE[past.reason] & mended & (past.kind != MENDED))


def _originals(past: Past) -> Bools:
    return (past.kind == NEW) | (past.kind == REPEAT)


def _denied(past: Past, first_day: int) -> Bools:
    """Find what became known as denied in the month before."""
    return (
        (past.reason >= 0) & (past.known_at < first_day * draws.DAY) & (past.known_at >= (first_day - 31) * draws.DAY)
    )


def _some(draw: Draw, name: str, among: Bools, count: int) -> Ints:
    places = np.flatnonzero(among)
    if not len(places):
        return places
    return np.unique(places[draw.whole(name, count, 0, len(places))])


class Approved(NamedTuple):
    """Prior authorizations: number, member, procedure, first and last day, units, and the second they were recorded."""

    number: Ints
    person: Ints
    code: Ints
    since: Ints
    until: Ints
    units: Ints
    known_at: Ints


def authorize(draw: Draw, coming: Coming, first: int, seed: int) -> tuple[Coming, Approved]:
    """Give claims their prior authorizations, and say what the payer's files say of each when it is recorded.

    first: how many were given before. A file may be extended: before the claim, then the claim is covered, or after
    it, then it was not when it counted. It may also arrive after the claim.
    """
    visits, count = coming.visits, len(coming.kind)
    code = visits.code[visits.heads]
    needed = _NEEDED[code, visits.plan]
    fresh = coming.paper < 0
    fate = draw.pick("fate", count, (0.70, 0.06, 0.07, 0.06, 0.03, 0.05, 0.03))
    extended, absent, expired, too_late, other_procedure, unknown = (fate == place for place in range(1, 7))
    idle = ~needed & (draw.share("idle", count) < 0.04)
    named = fresh & ((needed & ~absent) | idle)
    place = np.flatnonzero(named)
    spread = int(draws.Draw(seed, "authorizations").whole("first", 1, 0, 10**8)[0])
    auth = visits.auth.copy()
    auth[place] = ((first + np.arange(len(place))) * 15_485_863 + spread) % 10**8
    file_state = np.select(
        [absent, expired | too_late, other_procedure, unknown],
        [adjudication.ABSENT, adjudication.EXPIRED, adjudication.OTHER_CODE, adjudication.UNKNOWN],
        adjudication.VALID,
    )
    # A claim that comes again under its old number is judged by the old paper, as it stands by now.
    old = np.where(coming.valid_at < visits.recorded, adjudication.VALID, coming.paper)
    paper = np.where(fresh, np.where(needed, file_state, 0), old)
    shift = draw.whole("other code", count, 1, len(care.CODES))
    authorized_code = np.where(other_procedure & needed, (code + shift) % len(care.CODES), code)
    since = visits.start - draw.whole("since", count, 6, 25)
    short = needed & (extended | expired | too_late)
    until = np.where(
        short, visits.start - draw.whole("short", count, 1, 5), visits.end + draw.whole("until", count, 10, 90)
    )
    second = draw.whole("second auth", count, 8 * 3600, 18 * 3600)
    known_at = (since - draw.whole("ahead", count, 0, 4)) * draws.DAY + second
    known_at = np.where(needed & unknown, visits.recorded + draw.whole("after", count, 3, 15) * draws.DAY, known_at)
    units = draw.whole("approved", count, 1, 13)
    more = np.flatnonzero(named & needed & (extended | too_late))
    later = np.where(extended, (visits.start - 1) * draws.DAY + second, visits.recorded + 10 * draws.DAY + second)
    columns = (auth, visits.person, authorized_code, since, until, units, known_at)
    once = Approved(*(column[place] for column in columns))
    twice = Approved(*(column[more] for column in (*columns[:4], visits.end + 30, units, later)))
    both = Approved(*(np.concatenate(pair) for pair in zip(once, twice, strict=True)))
    valid_at = np.select([fresh & needed & unknown, fresh & needed & too_late], [known_at, later], coming.valid_at)
    return coming._replace(visits=visits._replace(auth=auth), paper=paper, valid_at=valid_at), both


def approvals(approved: Approved, people: pa.Table) -> pa.Table:
    """Lay prior authorizations out, in the contract's order."""
    return pa.table(
        {
            "prior_auth_number": care.auth_ids(approved.number),
            "member_id": people["member_id"].combine_chunks().take(pa.array(approved.person)),
            "hcpcs_code": draws.words(care.CODES, approved.code),
            "approved_from": draws.dates(approved.since),
            "approved_to": draws.dates(approved.until),
            "approved_units": pa.array(approved.units),
            "recorded_at": draws.instants(approved.known_at),
            "data_source": pa.repeat(care.SOURCE, len(approved.number)),
        }
    )
