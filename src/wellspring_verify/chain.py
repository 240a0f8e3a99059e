"""Follow an answer back: to its release, the two people, the gate, the run, the editions and the key of its promise.

Each link is a digest or a signature that stands in a proved entry; where one is missing or does not fit, it is named.
What concerns the two people is in `people`, what follows from a release's text in `releases`.
From the editions on, `pack` follows rows and originals to the drops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from wellspring_verify import answer_signature, releases
from wellspring_verify.canonical import CanonicalValue, MalformedError
from wellspring_verify.entries import Entry, EntryBook, Ref, fact_text, refs_of_kind
from wellspring_verify.notes import decode_base64
from wellspring_verify.users import ApprovalChecker

MAX_SWITCH_LAG_SECONDS = 10
"""Seconds in which an answer may still rest on a release that was just replaced: it was under way."""


class ChainGap(NamedTuple):
    """What is missing or does not fit. place: of the entry that leads there; None: the pack as a whole."""

    tree_index: int | None
    message: str


def find_gaps(subject: str, entries: Iterable[Entry], documents: Mapping[Ref, bytes]) -> list[ChainGap]:
    """Name what breaks the chain of `prediction:ID`, `model:NAME@RELEASE`, `release:`, `candidate:` or `run:ID`.

    papers: bytes whose SHA-256 an entry names, by that name and digest. Other subjects have no such chain.
    """
    chain = _ChainChecker(EntryBook(entries), documents)
    kind, _, name = subject.partition(":")
    check_subject = _SUBJECT_CHECKS.get(kind)
    if check_subject:
        check_subject(chain, name)
    return chain.gaps


def summarize_chain(subject: str, *, answer_checked: bool) -> list[str]:
    """Say what a whole chain shows, and what it does not. answered: whether an answer was held against it."""
    kind = subject.partition(":")[0]
    if kind not in _SUBJECT_CHECKS:
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
            if answer_checked
            else "the answer itself was NOT checked: give --answer",
            "the score was NOT computed again: `wellspring replay` does that where the model is kept",
        ]
    return lines


class _ChainChecker:
    """What has been found wrong so far, on the way back."""

    def __init__(self, book: EntryBook, documents: Mapping[Ref, bytes]) -> None:
        self.book = book
        self.documents = documents
        self.approvals = ApprovalChecker(book, self.report_gap)
        self.gaps: list[ChainGap] = []

    def report_gap(self, entry: Entry | None, message: str) -> None:
        self.gaps.append(ChainGap(entry.tree_index if entry else None, message))

    def check_prediction(self, name: str) -> None:
        predictions = self.book.completed("predict", f"prediction:{name}")
        if len(predictions) != 1:
            self.report_gap(None, f"it tells of {len(predictions)} answers {'prediction:' + name!a}, not of one")
            return
        answer = predictions[0]
        self._single_ref(answer, answer.outputs, "answer", name)
        self._single_ref(answer, answer.inputs, "vector")
        if edition := self._single_ref(answer, answer.inputs, "edition"):
            self._check_built_editions(answer, edition)
            self._check_materialized(answer, edition.name)
        # Rows that a newer edition did not change still bear the name of the one that brought them.
        rows = answer.facts.get("editions")
        for name in sorted({f"edition:{one}" for one in rows.values()}) if isinstance(rows, dict) else ():
            for one in self._publish_entries(answer, name)[-1:]:
                self._check_built_editions(answer, *(ref for ref in one.outputs if ref.name == name))
            self._check_materialized(answer, name)
        if release := self._single_ref(answer, answer.inputs, "release"):
            self._check_released(answer, release, fact_text(answer, "model"), answer)
        self._check_signing_key(answer)

    def check_model(self, name: str) -> None:
        model, _, release = name.rpartition("@")
        for ref in self._proposed_releases(f"release:{release}"):
            self._check_released(None, ref, model, None)

    def check_release(self, name: str) -> None:
        # It may still wait for the second person, or have been refused: then it was never live.
        for ref in self._proposed_releases(f"release:{name}"):
            content = self._read_release(None, ref)
            self.approvals.valid_approvals(
                ref, str((content or {}).get("model")), self._check_proposals(None, ref, content)
            )

    def check_candidate(self, name: str) -> None:
        subject = f"candidate:{name}"
        gate_entries = self.book.reported("gate", subject)
        if not gate_entries:
            self.report_gap(None, f"{subject!a} has no verdict of the gate")
        for one in gate_entries[-1:]:
            self._check_training(one)

    def check_run(self, name: str) -> None:
        train_entries = self.book.completed("train", f"run:{name}")
        if not train_entries:
            self.report_gap(None, f"it does not tell of {'run:' + name!a} itself")
        for one in train_entries[-1:]:
            self._check_training_edition(one)

    def _proposed_releases(self, subject: str) -> list[Ref]:
        refs = [ref for one in self.book.completed("propose", subject) for ref in one.outputs if ref.name == subject]
        if not refs:
            self.report_gap(None, f"{subject!a} was never proposed")
        return list(dict.fromkeys(refs))

    def _check_released(self, source_entry: Entry | None, ref: Ref, model: str, answer: Entry | None) -> None:
        """Follow a release that is said to be live: two people, then its promotion, then the answer."""
        content = self._read_release(source_entry, ref)
        if content and content.get("model") != model:
            self.report_gap(source_entry, f"{ref.name!a} is a release of {content.get('model')!a}, not of {model!a}")
        approvals = self.approvals.valid_approvals(ref, model, self._check_proposals(source_entry, ref, content))
        if not approvals:
            self.report_gap(source_entry, f"{ref.name!a} has no approval by a second person")
        self._check_live(source_entry, ref, model, approvals, answer)
        if content is not None and answer:
            self._check_decision(answer, ref, content)

    def _check_proposals(
        self, source_entry: Entry | None, ref: Ref, content: dict[str, CanonicalValue] | None
    ) -> list[Entry]:
        """Follow each proposal of a release to its candidate, and that one's gate and run."""
        proposals = [one for one in self.book.completed("propose", ref.name) if ref in one.outputs]
        if not proposals:
            self.report_gap(source_entry, f"{ref.name!a} was never proposed with the digest that it names")
        for one in proposals:
            candidate = self._single_ref(one, one.inputs, "candidate")
            if candidate is None:
                continue
            passed = [gate for gate in self.book.completed("gate", candidate.name) if candidate in gate.outputs]
            if not passed:
                self.report_gap(one, f"{candidate.name!a} has not passed the gate with the digest that it names")
            for gate in passed[-1:]:
                self._require_order(gate, one)
                if fact_text(gate, "outcome") != "pass":
                    self.report_gap(gate, f"the gate did not pass {candidate.name!a}: {fact_text(gate, 'outcome')!a}")
                self._check_matches_gate(one, ref, content, candidate, gate, self._check_training(gate))
        return proposals

    def _check_matches_gate(
        self,
        source_entry: Entry,
        ref: Ref,
        content: dict[str, CanonicalValue] | None,
        candidate: Ref,
        gate: Entry,
        run: Entry | None,
    ) -> None:
        """Hold what was approved against what the gate judged."""
        train_inputs = run.inputs if run else ()
        gated_values = {
            "candidate": [candidate.name.partition(":")[2]],
            "artifact": [one.digest for one in refs_of_kind(gate.inputs, "artifact")],
            "edition": [one.name.partition(":")[2] for one in refs_of_kind(train_inputs, "edition")],
            "views": [one.digest for one in refs_of_kind(train_inputs, "views")],
        }
        for name, values in gated_values.items():
            if content is not None and values and content.get(name) not in values:
                self.report_gap(source_entry, f"{ref.name!a} holds another {name} than the one that the gate judged")

    def _check_training(self, gate: Entry) -> Entry | None:
        """Follow what the gate judged to the run that made it."""
        run, artefact = (
            self._single_ref(gate, gate.inputs, "run", digest=False),
            self._single_ref(gate, gate.inputs, "artifact"),
        )
        if run is None or artefact is None:
            return None
        train_entries = self.book.completed("train", run.name)
        if not train_entries:
            self.report_gap(gate, f"it judged what {run.name!a} made, and the pack does not tell of that run")
            return None
        if artefact not in train_entries[-1].outputs:
            self.report_gap(gate, f"it judged another artefact than the one that {run.name!a} made")
        self._require_order(train_entries[-1], gate)
        self._check_training_edition(train_entries[-1])
        return train_entries[-1]

    def _check_training_edition(self, run: Entry) -> None:
        if edition := self._single_ref(run, run.inputs, "edition"):
            self._check_built_editions(run, edition)

    def _check_built_editions(self, source_entry: Entry, *refs: Ref) -> None:
        """Follow built editions to the landed ones that they were built from."""
        for ref in refs:
            publish = self._check_published(source_entry, ref)
            if publish:
                self._check_landed_parent(ref, publish)

    def _check_landed_parent(self, ref: Ref, publish: Entry) -> None:
        parent = fact_text(publish, "parent")
        if fact_text(publish, "level") != "built" or not parent:
            self.report_gap(publish, f"{ref.name!a} is no edition that was built from a landed one")
            return
        name = f"edition:{parent.removeprefix('edition:')}"
        parent_refs = [one for one in publish.inputs if one.name == name and one.digest is not None]
        if not parent_refs:
            self.report_gap(publish, f"it does not pin {name!a}, which it was built from")
        for one in parent_refs:
            source = self._check_published(publish, one)
            if source and fact_text(source, "level") != "landed":
                self.report_gap(source, f"{name!a} is no landed edition")

    def _check_materialized(self, answer: Entry, edition: str) -> None:
        # Rows are written one by one: from its beginning on some may be read, and what ended it may be a recovery.
        if not any(
            self.book.effective_from(one) < answer.tree_index for one in self.book.completed("materialize", edition)
        ):
            self.report_gap(answer, f"it rests on {edition!a}, whose rows were not put where answers read before it")

    def _publish_entries(self, source_entry: Entry, edition: str) -> list[Entry]:
        publishes = self.book.completed("publish", edition)
        if not publishes:
            self.report_gap(source_entry, f"it names {edition!a}, and the pack does not tell of its publishing")
        return publishes

    def _check_published(self, source_entry: Entry, ref: Ref) -> Entry | None:
        publishes = self._publish_entries(source_entry, ref.name)
        if not publishes:
            return None
        if ref not in publishes[-1].outputs:
            self.report_gap(source_entry, f"{ref.name!a} was published with another digest than it names")
        self._require_order(publishes[-1], source_entry)
        return publishes[-1]

    def _check_live(
        self, source_entry: Entry | None, ref: Ref, model: str, approvals: list[Entry], answer: Entry | None
    ) -> None:
        """See that a release was live: after its approval, before the answer, and not long replaced."""
        release_changes = [*self.book.completed("promote"), *self.book.completed("rollback")]
        switches = sorted(
            (one for one in release_changes if fact_text(one, "model") == model), key=lambda one: one.tree_index
        )
        answer_index = answer.tree_index if answer else None
        activations = [
            one
            for one in switches
            if one.subject == ref.name and (answer_index is None or self.book.effective_from(one) < answer_index)
        ]
        if not activations:
            self.report_gap(source_entry, f"{ref.name!a} was not made live{' before it answered' if answer else ''}")
            return
        if approvals and not any(one.tree_index < self.book.effective_from(activations[0]) for one in approvals):
            self.report_gap(activations[0], f"{ref.name!a} was made live before it was approved")
        replacements = [
            one for one in switches if one.subject != ref.name and one.tree_index > activations[-1].tree_index
        ]
        late_replacements = [
            one
            for one in replacements
            if answer and one.tree_index < answer.tree_index and _elapsed_seconds(one, answer) > MAX_SWITCH_LAG_SECONDS
        ]
        # What cannot be loaded leaves the one before it answering; the line of such an answer says instead of what.
        if (
            answer
            and late_replacements
            and fact_text(answer, "superseded_by")
            not in {one.subject for one in replacements[replacements.index(late_replacements[-1]) :]}
        ):
            self.report_gap(
                answer,
                f"{ref.name!a} had been replaced by {replacements[0].subject!a} at {replacements[0].known_since!a} when it answered",
            )

    def _check_decision(self, answer: Entry, ref: Ref, content: dict[str, CanonicalValue]) -> None:
        """Hold the decision against the threshold and labels that two people approved."""
        expected_label = releases.decide_label(content, fact_text(answer, "score"))
        if expected_label is None or fact_text(answer, "decision") != expected_label:
            self.report_gap(answer, f"its decision is not the one that {ref.name!a} makes of its score")

    def _check_signing_key(self, answer: Entry) -> None:
        """See that the key of the promise was made known before the answer, and held at its time."""
        key = self._single_ref(answer, answer.inputs, "key", digest=False)
        if key is None:
            return
        key_entries = [one for one in self.book.completed("create_key", key.name) if one.tree_index < answer.tree_index]
        if not key_entries:
            self.report_gap(answer, f"it is promised with {key.name!a}, which the pack does not make known before it")
            return
        try:
            computed_id = answer_signature.compute_key_id(decode_base64(fact_text(key_entries[-1], "public_key")))
        except MalformedError:
            computed_id = ""
        if key.name != f"key:{computed_id}":
            self.report_gap(key_entries[-1], f"its public half is not that of {key.name!a}")
        expires = fact_text(key_entries[-1], "expires_at")
        if not (_is_instant(expires) and _is_instant(answer.known_since)) or expires <= answer.known_since:
            self.report_gap(answer, f"it is promised with {key.name!a}, which held until {expires!a} only")

    def _read_release(self, source_entry: Entry | None, ref: Ref) -> dict[str, CanonicalValue] | None:
        """Read what a release says of itself: two people signed its digest only."""
        content = self.documents.get(ref)
        if content is None:
            self.report_gap(
                source_entry, f"the pack does not hold the text of {ref.name!a}: what was approved cannot be read"
            )
            return None
        release = releases.parse_release(content)
        if release is None:
            self.report_gap(source_entry, f"the text of {ref.name!a} is no release")
        return release

    def _single_ref(
        self, entry: Entry, refs: Iterable[Ref], kind: str, name: str = "", *, digest: bool = True
    ) -> Ref | None:
        """Return the one thing of a kind that an entry names, by digest."""
        matches = [ref for ref in refs_of_kind(refs, kind) if not name or ref.name == f"{kind}:{name}"]
        if len(matches) != 1 or (digest and not matches[0].digest):
            self.report_gap(entry, f"it does not name one {kind}{' by its digest' if digest else ''}")
            return None
        return matches[0]

    def _require_order(self, early: Entry, late: Entry) -> None:
        if early.tree_index >= late.tree_index:
            self.report_gap(
                late, f"it comes before the {early.action} of {early.subject!a} in the log, and rests on it"
            )


_SUBJECT_CHECKS: dict[str, Callable[[_ChainChecker, str], None]] = {
    "prediction": _ChainChecker.check_prediction,
    "model": _ChainChecker.check_model,
    "release": _ChainChecker.check_release,
    "candidate": _ChainChecker.check_candidate,
    "run": _ChainChecker.check_run,
}
CHAIN_KINDS = frozenset(_SUBJECT_CHECKS)
"""The kinds of subjects that have a chain to follow."""


def _elapsed_seconds(early: Entry, late: Entry) -> float:
    """Return how long after one entry another was written; endless when either time cannot be read."""
    if not (_is_instant(early.known_since) and _is_instant(late.known_since)):
        return float("inf")
    return (_parse_instant(late.known_since) - _parse_instant(early.known_since)).total_seconds()


def _parse_instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")


def _is_instant(text: str) -> bool:
    try:
        return _parse_instant(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ") == text
    except ValueError:
        return False
