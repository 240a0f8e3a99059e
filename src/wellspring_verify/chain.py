"""Follow an answer back: to its release, the two people, the gate, the run, the editions and the key of its promise.

Each link is a digest or a signature that stands in a proved entry; where one is missing or does not fit, it is named.
What concerns the two people is in `people`, what follows from a release's text in `releases`.
From the editions on, `pack` follows rows and originals to the drops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from wellspring_verify import promise, releases
from wellspring_verify.canonical import Malformed, Value
from wellspring_verify.entries import Book, Entry, Ref, of_kind, text
from wellspring_verify.notes import unbase64
from wellspring_verify.people import People

LAG = 10
"""Seconds in which an answer may still rest on a release that was just replaced: it was under way."""


class Gap(NamedTuple):
    """What is missing or does not fit. place: of the entry that leads there; None: the pack as a whole."""

    place: int | None
    what: str


def gaps(subject: str, entries: Iterable[Entry], papers: Mapping[Ref, bytes]) -> list[Gap]:
    """Name what breaks the chain of `prediction:ID`, `model:NAME@RELEASE`, `release:`, `candidate:` or `run:ID`.

    papers: bytes whose SHA-256 an entry names, by that name and digest. Other subjects have no such chain.
    """
    chain = _Chain(Book(entries), papers)
    kind, _, name = subject.partition(":")
    follow = _FOLLOW.get(kind)
    if follow:
        follow(chain, name)
    return chain.found


def summary(subject: str, *, answered: bool) -> list[str]:
    """Say what a whole chain shows, and what it does not. answered: whether an answer was held against it."""
    kind = subject.partition(":")[0]
    if kind not in _FOLLOW:
        return []
    lines = ["artefact, gate, run, built and landed editions follow from each other by digest, in the order of the log"]
    if kind == "release":
        lines.append("each proposal and approval that it tells of is signed with the key enrolled for that person")
    if kind in {"prediction", "model"}:
        lines += [
            "two people signed for its release with the keys enrolled for them, one asking and one agreeing,"
            " before it went live",
            "that each key was in the hands of that person alone is the word of the house",
        ]
    if kind == "prediction":
        lines += [
            "it was live when it answered, as far as the promotions and rollbacks told here go; or the API said in the"
            " same entry that it could not load the one that had replaced it",
            "its decision is the one that its release, as approved, makes of its score",
            "the answer that was handed in is the one in the log, and the promise under it holds"
            if answered
            else "the answer itself was NOT checked: give --answer",
            "the score was NOT computed again: `wellspring replay` does that where the model is kept",
        ]
    return lines


class _Chain:
    """What has been found wrong so far, on the way back."""

    def __init__(self, book: Book, papers: Mapping[Ref, bytes]) -> None:
        self.book = book
        self.papers = papers
        self.people = People(book, self.miss)
        self.found: list[Gap] = []

    def miss(self, entry: Entry | None, what: str) -> None:
        self.found.append(Gap(entry.place if entry else None, what))

    def prediction(self, name: str) -> None:
        told = self.book.done("predict", f"prediction:{name}")
        if len(told) != 1:
            self.miss(None, f"it tells of {len(told)} answers {'prediction:' + name!a}, not of one")
            return
        answer = told[0]
        self._pinned(answer, answer.outputs, "answer", name)
        self._pinned(answer, answer.inputs, "vector")
        if edition := self._pinned(answer, answer.inputs, "edition"):
            self._built(answer, edition)
            self._materialized(answer, edition.name)
        # Rows that a newer edition did not change still bear the name of the one that brought them.
        rows = answer.facts.get("editions")
        for name in sorted({f"edition:{one}" for one in rows.values()}) if isinstance(rows, dict) else ():
            for one in self._told(answer, name)[-1:]:
                self._built(answer, *(ref for ref in one.outputs if ref.name == name))
            self._materialized(answer, name)
        if release := self._pinned(answer, answer.inputs, "release"):
            self._released(answer, release, text(answer, "model"), answer)
        self._key(answer)

    def model(self, name: str) -> None:
        model, _, release = name.rpartition("@")
        for ref in self._proposed(f"release:{release}"):
            self._released(None, ref, model, None)

    def release(self, name: str) -> None:
        # It may still wait for the second person, or have been refused: then it was never live.
        for ref in self._proposed(f"release:{name}"):
            content = self._content(None, ref)
            self.people.sound(ref, str((content or {}).get("model")), self._proposals(None, ref, content))

    def candidate(self, name: str) -> None:
        subject = f"candidate:{name}"
        judged = self.book.told("gate", subject)
        if not judged:
            self.miss(None, f"{subject!a} has no verdict of the gate")
        for one in judged[-1:]:
            self._trained(one)

    def run(self, name: str) -> None:
        told = self.book.done("train", f"run:{name}")
        if not told:
            self.miss(None, f"it does not tell of {'run:' + name!a} itself")
        for one in told[-1:]:
            self._from_edition(one)

    def _proposed(self, subject: str) -> list[Ref]:
        refs = [ref for one in self.book.done("propose", subject) for ref in one.outputs if ref.name == subject]
        if not refs:
            self.miss(None, f"{subject!a} was never proposed")
        return list(dict.fromkeys(refs))

    def _released(self, by: Entry | None, ref: Ref, model: str, answer: Entry | None) -> None:
        """Follow a release that is said to be live: two people, then its promotion, then the answer."""
        content = self._content(by, ref)
        if content and content.get("model") != model:
            self.miss(by, f"{ref.name!a} is a release of {content.get('model')!a}, not of {model!a}")
        sound = self.people.sound(ref, model, self._proposals(by, ref, content))
        if not sound:
            self.miss(by, f"{ref.name!a} has no approval by a second person")
        self._live(by, ref, model, sound, answer)
        if content is not None and answer:
            self._decided(answer, ref, content)

    def _proposals(self, by: Entry | None, ref: Ref, content: dict[str, Value] | None) -> list[Entry]:
        """Follow each proposal of a release to its candidate, and that one's gate and run."""
        proposals = [one for one in self.book.done("propose", ref.name) if ref in one.outputs]
        if not proposals:
            self.miss(by, f"{ref.name!a} was never proposed with the digest that it names")
        for one in proposals:
            candidate = self._pinned(one, one.inputs, "candidate")
            if candidate is None:
                continue
            passed = [gate for gate in self.book.done("gate", candidate.name) if candidate in gate.outputs]
            if not passed:
                self.miss(one, f"{candidate.name!a} has not passed the gate with the digest that it names")
            for gate in passed[-1:]:
                self._before(gate, one)
                if text(gate, "outcome") != "pass":
                    self.miss(gate, f"the gate did not pass {candidate.name!a}: {text(gate, 'outcome')!a}")
                self._fits(one, ref, content, candidate, gate, self._trained(gate))
        return proposals

    def _fits(
        self, by: Entry, ref: Ref, content: dict[str, Value] | None, candidate: Ref, gate: Entry, run: Entry | None
    ) -> None:
        """Hold what was approved against what the gate judged."""
        learned = run.inputs if run else ()
        judged = {
            "candidate": [candidate.name.partition(":")[2]],
            "artefact": [one.digest for one in of_kind(gate.inputs, "artefact")],
            "edition": [one.name.partition(":")[2] for one in of_kind(learned, "edition")],
            "views": [one.digest for one in of_kind(learned, "views")],
        }
        for name, found in judged.items():
            if content is not None and found and content.get(name) not in found:
                self.miss(by, f"{ref.name!a} holds another {name} than the one that the gate judged")

    def _trained(self, gate: Entry) -> Entry | None:
        """Follow what the gate judged to the run that made it."""
        run, artefact = (
            self._pinned(gate, gate.inputs, "run", digest=False),
            self._pinned(gate, gate.inputs, "artefact"),
        )
        if run is None or artefact is None:
            return None
        told = self.book.done("train", run.name)
        if not told:
            self.miss(gate, f"it judged what {run.name!a} made, and the pack does not tell of that run")
            return None
        if artefact not in told[-1].outputs:
            self.miss(gate, f"it judged another artefact than the one that {run.name!a} made")
        self._before(told[-1], gate)
        self._from_edition(told[-1])
        return told[-1]

    def _from_edition(self, run: Entry) -> None:
        if edition := self._pinned(run, run.inputs, "edition"):
            self._built(run, edition)

    def _built(self, by: Entry, *refs: Ref) -> None:
        """Follow built editions to the landed ones that they were built from."""
        for ref in refs:
            told = self._published(by, ref)
            if told:
                self._landed(ref, told)

    def _landed(self, ref: Ref, told: Entry) -> None:
        parent = text(told, "parent")
        if text(told, "level") != "built" or not parent:
            self.miss(told, f"{ref.name!a} is no edition that was built from a landed one")
            return
        name = f"edition:{parent.removeprefix('edition:')}"
        landed = [one for one in told.inputs if one.name == name and one.digest is not None]
        if not landed:
            self.miss(told, f"it does not pin {name!a}, which it was built from")
        for one in landed:
            source = self._published(told, one)
            if source and text(source, "level") != "landed":
                self.miss(source, f"{name!a} is no landed edition")

    def _materialized(self, answer: Entry, edition: str) -> None:
        # Rows are written one by one: from its beginning on some may be read, and what ended it may be a recovery.
        if not any(self.book.start(one) < answer.place for one in self.book.done("materialize", edition)):
            self.miss(answer, f"it rests on {edition!a}, whose rows were not put where answers read before it")

    def _told(self, by: Entry, edition: str) -> list[Entry]:
        told = self.book.done("publish", edition)
        if not told:
            self.miss(by, f"it names {edition!a}, and the pack does not tell of its publishing")
        return told

    def _published(self, by: Entry, ref: Ref) -> Entry | None:
        told = self._told(by, ref.name)
        if not told:
            return None
        if ref not in told[-1].outputs:
            self.miss(by, f"{ref.name!a} was published with another digest than it names")
        self._before(told[-1], by)
        return told[-1]

    def _live(self, by: Entry | None, ref: Ref, model: str, sound: list[Entry], answer: Entry | None) -> None:
        """See that a release was live: after its approval, before the answer, and not long replaced."""
        acts = [*self.book.done("promote"), *self.book.done("rollback")]
        switches = sorted((one for one in acts if text(one, "model") == model), key=lambda one: one.place)
        end = answer.place if answer else None
        mine = [one for one in switches if one.subject == ref.name and (end is None or self.book.start(one) < end)]
        if not mine:
            self.miss(by, f"{ref.name!a} was not made live{' before it answered' if answer else ''}")
            return
        if sound and not any(one.place < self.book.start(mine[0]) for one in sound):
            self.miss(mine[0], f"{ref.name!a} was made live before it was approved")
        gone = [one for one in switches if one.subject != ref.name and one.place > mine[-1].place]
        late = [one for one in gone if answer and one.place < answer.place and _seconds(one, answer) > LAG]
        # What cannot be loaded leaves the one before it answering; the line of such an answer says instead of what.
        if answer and late and text(answer, "instead_of") not in {one.subject for one in gone[gone.index(late[-1]) :]}:
            self.miss(
                answer,
                f"{ref.name!a} had been replaced by {gone[0].subject!a} at {gone[0].known_since!a} when it answered",
            )

    def _decided(self, answer: Entry, ref: Ref, content: dict[str, Value]) -> None:
        """Hold the decision against the threshold and labels that two people approved."""
        due = releases.decision(content, text(answer, "score"))
        if due is None or text(answer, "decision") != due:
            self.miss(answer, f"its decision is not the one that {ref.name!a} makes of its score")

    def _key(self, answer: Entry) -> None:
        """See that the key of the promise was made known before the answer, and held at its time."""
        key = self._pinned(answer, answer.inputs, "key", digest=False)
        if key is None:
            return
        told = [one for one in self.book.done("key", key.name) if one.place < answer.place]
        if not told:
            self.miss(answer, f"it is promised with {key.name!a}, which the pack does not make known before it")
            return
        try:
            named = promise.key_id(unbase64(text(told[-1], "public")))
        except Malformed:
            named = ""
        if key.name != f"key:{named}":
            self.miss(told[-1], f"its public half is not that of {key.name!a}")
        expires = text(told[-1], "expires")
        if not (_is_stamp(expires) and _is_stamp(answer.known_since)) or expires <= answer.known_since:
            self.miss(answer, f"it is promised with {key.name!a}, which held until {expires!a} only")

    def _content(self, by: Entry | None, ref: Ref) -> dict[str, Value] | None:
        """Read what a release says of itself: two people signed its digest only."""
        content = self.papers.get(ref)
        if content is None:
            self.miss(by, f"the pack does not hold the text of {ref.name!a}: what was approved cannot be read")
            return None
        told = releases.read(content)
        if told is None:
            self.miss(by, f"the text of {ref.name!a} is no release")
        return told

    def _pinned(
        self, entry: Entry, refs: Iterable[Ref], kind: str, name: str = "", *, digest: bool = True
    ) -> Ref | None:
        """Return the one thing of a kind that an entry names, by digest."""
        found = [ref for ref in of_kind(refs, kind) if not name or ref.name == f"{kind}:{name}"]
        if len(found) != 1 or (digest and not found[0].digest):
            self.miss(entry, f"it does not name one {kind}{' by its digest' if digest else ''}")
            return None
        return found[0]

    def _before(self, early: Entry, late: Entry) -> None:
        if early.place >= late.place:
            self.miss(late, f"it comes before the {early.action} of {early.subject!a} in the log, and rests on it")


_FOLLOW: dict[str, Callable[[_Chain, str], None]] = {
    "prediction": _Chain.prediction,
    "model": _Chain.model,
    "release": _Chain.release,
    "candidate": _Chain.candidate,
    "run": _Chain.run,
}
KINDS = frozenset(_FOLLOW)
"""The kinds of subjects that have a chain to follow."""


def _seconds(early: Entry, late: Entry) -> float:
    """Return how long after one entry another was written; endless when either time cannot be read."""
    if not (_is_stamp(early.known_since) and _is_stamp(late.known_since)):
        return float("inf")
    return (_instant(late.known_since) - _instant(early.known_since)).total_seconds()


def _instant(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ")


def _is_stamp(stamp: str) -> bool:
    try:
        return _instant(stamp).strftime("%Y-%m-%dT%H:%M:%S.%fZ") == stamp
    except ValueError:
        return False
