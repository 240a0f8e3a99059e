"""What one answer says, and what its line in the ledger says of it: pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.data.freshness import state
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.models.predict import Scored
from wellspring.models.release import pinned
from wellspring.models.serving import Domains, Served, known_keys
from wellspring.project import nearest
from wellspring.records.data import Edition, FeatureRow, View, Views
from wellspring.records.models import Prediction, State
from wellspring.records.record import Digest, stamp
from wellspring.records.trust import Ref
from wellspring.records.verdict import Outcome, Reason, Verdict
from wellspring.stores.layout import TOKEN
from wellspring_verify import canonical, promise

Rows = Mapping[str, FeatureRow | None]


class Knowledge(NamedTuple):
    """What was known when an answer was given. edition: the live one; digest: of it; as_of: how far it reaches."""

    rows: Rows
    edition: Edition
    digest: Digest
    as_of: datetime
    state: State
    age_seconds: int


def wanted(views: tuple[View, ...], given: Mapping[str, str], domains: Domains) -> list[tuple[str, tuple[str, ...]]]:
    """Turn the tokens of a caller, by key column, into the rows to read.

    Raises NotFound for a column that no key has, Refused (its verdict is `invalid`) for one that is missing or whose
    token is none of its domain, and ProjectError for one whose domain nobody knows. Nothing of what was given is ever
    repeated.
    """
    for view in views:
        known_keys(view, domains)
    needed = list(dict.fromkeys(column for view in views for column in view.keys))
    for column in given:
        if column not in needed:
            raise NotFound("no key of this model has such a name", fix=nearest(column, needed))
    for column in needed:
        if column not in given:
            raise no("missing_key", f"the key {column} is missing", fix=f"bring tokens for: {', '.join(needed)}")
        if not is_token(given[column], domains[column]):
            raise no(
                "not_a_token",
                f"what was given as {column} is not a token of its domain",
                fix="get a token from the enclave, once for a conversation, and ask by it",
            )
    return [(view.name, tuple(given[column] for column in view.keys)) for view in views]


def is_token(text: str, domains: frozenset[str]) -> bool:
    """Tell whether a text is a token of one of these domains."""
    return TOKEN.fullmatch(text) is not None and text[: text.rindex("_k", 0, -26)] in domains


def asked(given: Mapping[str, str]) -> Digest:
    """Name a question, so that an answer says to which it is one: SHA-256 of the canonical JSON of its tokens by key
    column."""
    return hashlib.sha256(canonical.dumps(dict(given))).hexdigest()


def known(
    rows: Rows, views: tuple[View, ...], edition: Edition, digest: Digest, as_of: datetime, now: datetime
) -> Knowledge:
    """Judge what was read. Raises Refused (its verdict is `inconclusive`) where a view has nothing of this thing.

    A row of an older edition than the live one is the last good one: the newest no longer has it.
    """
    judged, age = state(rows, views, as_of, now)
    if missing := [view.name for view in views if rows.get(view.name) is None]:
        raise no("missing", f"nothing is known of this in {', '.join(missing)}", fix=_LATER, outcome="inconclusive")
    return Knowledge(rows, edition, digest, as_of, judged, age)


def older(knowledge: Knowledge, published: Mapping[str, datetime]) -> Knowledge:
    """Say `last_good` where a row comes from an edition that was published before the live one. published: by id."""
    now = knowledge.edition.known_since
    behind = [row for row in knowledge.rows.values() if row is not None and published[row.edition] < now]
    return knowledge._replace(state="last_good") if behind and knowledge.state == "fresh" else knowledge


def compatible(served: Served, live: Views) -> None:
    """Raise Unavailable unless the rows online mean what the release was approved with. live: their definitions."""
    for view in served.wanted:
        other = live.view(view.name)
        used = [each.name for each in served.scorer.recipe.features if each.view == view.name]
        if other is None or _meaning(other, used) != _meaning(view, used):
            raise Unavailable(
                f"{view.name} was defined anew since {served.release.subject} was approved",
                fix="release a model that was trained on the new definition, or bring the old one back",
            )


def _meaning(view: View, used: list[str]) -> object:
    found = [view.feature(name) for name in used]
    return view.keys, view.table, [(each.type, each.categories) if each is not None else None for each in found]


def answer(
    served: Served, scored: Scored, knowledge: Knowledge, *, prediction: str, given: Mapping[str, str], at: datetime
) -> Prediction:
    """Put one answer together, without its promise. given: the tokens by key column, as they were asked."""
    return Prediction(
        id=prediction,
        model=served.release.model,
        asked=asked(given),
        release=served.release.id,
        edition=knowledge.edition.id,
        score=scored.score,
        threshold=served.release.threshold,
        decision=scored.decision,
        reasons=scored.reasons,
        state=knowledge.state,
        as_of=knowledge.as_of,
        age_seconds=knowledge.age_seconds,
        vector=scored.vector_digest,
        at=at,
    )


class Line(NamedTuple):
    """One line of the ledger, to be written before the answer is sent."""

    subject: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    facts: dict[str, JsonValue]


def line(
    given: Prediction, text: bytes, served: Served, knowledge: Knowledge, *, key: str, by: str, policy: Digest
) -> Line:
    """Say of an answer all that it takes to give it again, and nothing of what was in the rows. text: the signed."""
    return Line(
        given.subject,
        inputs=(
            pinned(served.release),
            Ref(name=knowledge.edition.subject, digest=knowledge.digest),
            Ref(name=f"key:{key}"),
            Ref(name=f"vector:{given.id}", digest=given.vector),
        ),
        outputs=(Ref(name=f"answer:{given.id}", digest=hashlib.sha256(text).hexdigest()),),
        facts={
            "model": given.model,
            "asked": given.asked,
            "score": promise.exact(given.score),
            "decision": given.decision,
            "state": given.state,
            "by": by,
            "policy": policy,
            "views": {name: told(row) for name, row in knowledge.rows.items() if row is not None},
            "editions": {
                name: row.edition
                for name, row in knowledge.rows.items()
                if row is not None and row.edition != knowledge.edition.id
            },
            **({"instead_of": served.instead_of} if served.instead_of else {}),
        },
    )


def told(row: FeatureRow) -> list[JsonValue]:
    """Name a row: since when it is known, what breaks a tie, and its key's tokens."""
    return [stamp(row.known_since), row.sequence, *row.key]


def no(code: str, what: str, *, fix: str, outcome: Outcome = "invalid") -> Refused:
    """Make a refusal that a door can tell from a policy's no by its verdict's outcome."""
    verdict = Verdict(subject="request", outcome=outcome, reasons=(Reason(code=code, what=what),))
    return Refused(what, fix=fix, verdict=verdict)


_LATER = "check the tokens, or ask again after the next edition"
