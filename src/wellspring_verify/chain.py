"""Check the evidence behind a prediction: its release, the two users, the gate, the run, the editions and its key.

Each link is a digest or a signature in a proved entry; a missing or wrong link is reported. `users` checks the proposer
and the approver, `releases` reads the text of a release, and `pack` follows rows and originals from the editions back
to the drops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from wellspring_verify import answer_signature, changes, releases
from wellspring_verify.canonical import CanonicalValue, MalformedError
from wellspring_verify.deployments import DeploymentChecker
from wellspring_verify.entries import EntryBook, PackEntry, PackRef, fact_text, refs_of_kind
from wellspring_verify.instants import is_instant
from wellspring_verify.notes import decode_base64
from wellspring_verify.users import ApprovalChecker


class ChainGap(NamedTuple):
    """A missing or wrong link. tree_index: of the entry with the link; None: of the pack as a whole."""

    tree_index: int | None
    message: str


def find_gaps(subject: str, entries: Iterable[PackEntry], documents: Mapping[PackRef, bytes]) -> list[ChainGap]:
    """List the missing and wrong links of `prediction:ID`, `model:NAME@RELEASE`, `release:`, `candidate:` or `run:ID`.

    documents: bytes by the reference that names their SHA-256. Other subjects have no links to check.
    """
    chain = _ChainChecker(EntryBook(entries), documents)
    kind, _, name = subject.partition(":")
    check_subject = _SUBJECT_CHECKS.get(kind)
    if check_subject:
        check_subject(chain, name)
    return chain.gaps


def summarize_chain(subject: str, *, answer_checked: bool) -> list[str]:
    """List what a chain without gaps proves. answer_checked: whether a given prediction was compared with it."""
    kind = subject.partition(":")[0]
    if kind not in _SUBJECT_CHECKS:
        return []
    lines = ["artifact, gate, run, built and landed editions follow from each other by digest, in the order of the log"]
    if kind == "release":
        lines.append("each proposal and approval in it is signed with the key enrolled for that user")
    if kind in {"prediction", "model"}:
        lines += [
            "two users signed its release with the keys enrolled for them, one proposing and one approving,"
            " before it went live",
            "that only the enrolled user held each key is NOT proved: it depends on the enrollment",
        ]
    if kind == "prediction":
        lines += [
            "its release could answer this request at the time, in the role that it states, according to the"
            " promotions, rollbacks and deployments in the pack; or the API recorded which release it could not load",
            "its decision follows from its numbers and its release, as approved",
            "the prediction that was given is the one in the log, and its signature is valid"
            if answer_checked
            else "the prediction itself was NOT checked: give --answer",
            "the score was NOT computed again: `wellspring replay` does that where the model is stored",
        ]
    return lines


class _ChainChecker:
    """Checks the links of one subject, and collects the gaps."""

    def __init__(self, book: EntryBook, documents: Mapping[PackRef, bytes]) -> None:
        self.book = book
        self.documents = documents
        self.approvals = ApprovalChecker(book, self.report_gap)
        self.deployments = DeploymentChecker(book, self.approvals, self.report_gap)
        self.gaps: list[ChainGap] = []

    def report_gap(self, entry: PackEntry | None, message: str) -> None:
        self.gaps.append(ChainGap(entry.tree_index if entry else None, message))

    def check_prediction(self, name: str) -> None:
        predictions = self.book.completed("predict", f"prediction:{name}")
        if len(predictions) != 1:
            self.report_gap(
                None, f"the pack has {len(predictions)} predict entries of {'prediction:' + name!a}, not one"
            )
            return
        answer = predictions[0]
        self._single_ref(answer, answer.outputs, "answer", name)
        self._single_ref(answer, answer.inputs, "vector")
        release = self._single_ref(answer, answer.inputs, "release")
        content = releases.parse_release(self.documents.get(release, b"")) if release else None
        if edition := self._single_ref(answer, answer.inputs, "edition"):
            self._check_built_editions(answer, edition)
            self._check_materialized(answer, edition.name, content)
        # Rows that a newer edition did not change still name the edition that wrote them.
        editions = answer.facts.get("editions")
        for edition_name in (
            sorted({f"edition:{edition_id}" for edition_id in editions.values()}) if isinstance(editions, dict) else ()
        ):
            for publish in self._publish_entries(answer, edition_name)[-1:]:
                self._check_built_editions(answer, *(ref for ref in publish.outputs if ref.name == edition_name))
            self._check_materialized(answer, edition_name)
        if release:
            self._check_released(answer, release, fact_text(answer, "model"), answer)
        self._check_signing_key(answer)
        self.approvals.check_mode(answer)

    def check_model(self, name: str) -> None:
        model, _, release = name.rpartition("@")
        for ref in self._proposed_releases(f"release:{release}"):
            self._check_released(None, ref, model, None)

    def check_release(self, name: str) -> None:
        # The release may not be approved yet, or be refused: then it was never live.
        for ref in self._proposed_releases(f"release:{name}"):
            content = self._read_release(None, ref)
            if content is not None and changes.is_change(content):
                changes.check_change(self.book, self.approvals, self.report_gap, ref, content)
                continue
            self.approvals.valid_approvals(
                ref, str((content or {}).get("model")), self._check_proposals(None, ref, content)
            )

    def check_candidate(self, name: str) -> None:
        subject = f"candidate:{name}"
        gate_entries = self.book.reported("gate", subject)
        if not gate_entries:
            self.report_gap(None, f"{subject!a} has no gate verdict")
        for gate in gate_entries[-1:]:
            self._check_training(gate)

    def check_run(self, name: str) -> None:
        subject = f"run:{name}"
        run_entries = [*self.book.completed("train", subject), *self.book.completed("evaluate", subject)]
        if not run_entries:
            self.report_gap(None, f"the pack has no train entry of {subject!a}")
        for run in run_entries[-1:]:
            self._check_training_edition(run)

    def _proposed_releases(self, subject: str) -> list[PackRef]:
        proposals = self.book.completed("propose", subject)
        refs = [ref for proposal in proposals for ref in proposal.outputs if ref.name == subject]
        if not refs:
            self.report_gap(None, f"{subject!a} was never proposed")
        return list(dict.fromkeys(refs))

    def _check_released(
        self, source_entry: PackEntry | None, ref: PackRef, model: str, answer: PackEntry | None
    ) -> None:
        """Check a live release: two users, then its promotion, then the prediction."""
        content = self._read_release(source_entry, ref)
        if content and content.get("model") != model:
            self.report_gap(source_entry, f"{ref.name!a} is a release of {content.get('model')!a}, not of {model!a}")
        proposals = self._check_proposals(source_entry, ref, content)
        approvals = self.approvals.valid_approvals(ref, model, proposals, answer)
        if not approvals:
            self.report_gap(source_entry, f"{ref.name!a} has no approval by a second user")
        self.deployments.check_live(source_entry, ref, model, approvals, answer)
        if content is not None and answer:
            self._check_decision(answer, ref, content)

    def _check_proposals(
        self, source_entry: PackEntry | None, ref: PackRef, content: dict[str, CanonicalValue] | None
    ) -> list[PackEntry]:
        """Check each proposal of a release: its candidate, and the gate and run of the candidate."""
        proposals = [proposal for proposal in self.book.completed("propose", ref.name) if ref in proposal.outputs]
        if not proposals:
            self.report_gap(source_entry, f"{ref.name!a} was never proposed with the digest that it names")
        for proposal in proposals:
            candidate = self._single_ref(proposal, proposal.inputs, "candidate")
            if candidate is None:
                continue
            passed = [gate for gate in self.book.completed("gate", candidate.name) if candidate in gate.outputs]
            if not passed:
                self.report_gap(proposal, f"{candidate.name!a} has not passed the gate with the digest that it names")
            for gate in passed[-1:]:
                self._require_order(gate, proposal)
                if fact_text(gate, "outcome") != "pass":
                    self.report_gap(gate, f"the gate did not pass {candidate.name!a}: {fact_text(gate, 'outcome')!a}")
                self._check_matches_gate(proposal, ref, content, candidate, gate, self._check_training(gate))
        return proposals

    def _check_matches_gate(
        self,
        source_entry: PackEntry,
        ref: PackRef,
        content: dict[str, CanonicalValue] | None,
        candidate: PackRef,
        gate: PackEntry,
        run: PackEntry | None,
    ) -> None:
        """Compare the approved release with what the gate evaluated."""
        train_inputs = run.inputs if run else ()
        gated_values = {
            "candidate": [candidate.name.partition(":")[2]],
            "artifact": [artifact.digest for artifact in refs_of_kind(gate.inputs, "artifact")],
            "edition": [edition.name.partition(":")[2] for edition in refs_of_kind(train_inputs, "edition")],
            "views": [views.digest for views in refs_of_kind(train_inputs, "views")],
            "transform": [
                code.digest
                for edition in refs_of_kind(train_inputs, "edition")
                for publish in self.book.completed("publish", edition.name)[-1:]
                for code in refs_of_kind(publish.inputs, "dbt")
            ],
        }
        for name, values in gated_values.items():
            if content is not None and values and content.get(name) not in values:
                self.report_gap(source_entry, f"{ref.name!a} has another {name} than the one that the gate evaluated")

    def _check_training(self, gate: PackEntry) -> PackEntry | None:
        """Check the run that produced what the gate evaluated, and return its train entry."""
        run, artifact = (
            self._single_ref(gate, gate.inputs, "run", digest=False),
            self._single_ref(gate, gate.inputs, "artifact"),
        )
        if run is None or artifact is None:
            return None
        run_entries = [*self.book.completed("train", run.name), *self.book.completed("evaluate", run.name)]
        if not run_entries:
            self.report_gap(gate, f"it evaluated the output of {run.name!a}, and the pack has no entry of that run")
            return None
        last = run_entries[-1]
        if artifact not in last.outputs:
            self.report_gap(gate, f"it evaluated an artifact that {run.name!a} did not produce")
        self._require_order(last, gate)
        self._check_training_edition(last)
        if last.action == "evaluate":
            self._check_evaluated_artifact(last, artifact)
        return last

    def _check_evaluated_artifact(self, evaluation: PackEntry, artifact: PackRef) -> None:
        """Check that an earlier run trained the artifact that an evaluation without training scored again."""
        earlier = self._single_ref(evaluation, evaluation.inputs, "run", digest=False)
        visited = {evaluation.subject}
        while earlier is not None and earlier.name not in visited:
            visited.add(earlier.name)
            trained = [entry for entry in self.book.completed("train", earlier.name) if artifact in entry.outputs]
            if trained:
                self._require_order(trained[-1], evaluation)
                self._check_training_edition(trained[-1])
                return
            evaluated = [entry for entry in self.book.completed("evaluate", earlier.name) if artifact in entry.outputs]
            earlier = self._single_ref(evaluated[-1], evaluated[-1].inputs, "run", digest=False) if evaluated else None
        self.report_gap(evaluation, f"the pack has no entry of a run that trained {artifact.name!a}")

    def _check_training_edition(self, run: PackEntry) -> None:
        if edition := self._single_ref(run, run.inputs, "edition"):
            self._check_built_editions(run, edition)

    def _check_built_editions(self, source_entry: PackEntry, *refs: PackRef) -> None:
        """Check that built editions were published, and built from landed editions."""
        for ref in refs:
            publish = self._check_published(source_entry, ref)
            if publish:
                self._check_landed_parent(ref, publish)

    def _check_landed_parent(self, ref: PackRef, publish: PackEntry) -> None:
        parent = fact_text(publish, "parent")
        if fact_text(publish, "level") != "built" or not parent:
            self.report_gap(publish, f"{ref.name!a} was not built from a landed edition")
            return
        name = f"edition:{parent.removeprefix('edition:')}"
        parent_refs = [
            parent_ref for parent_ref in publish.inputs if parent_ref.name == name and parent_ref.digest is not None
        ]
        if not parent_refs:
            self.report_gap(publish, f"it does not pin the digest of {name!a}, from which it was built")
        for parent_ref in parent_refs:
            source = self._check_published(publish, parent_ref)
            if source and fact_text(source, "level") != "landed":
                self.report_gap(source, f"{name!a} is not a landed edition")

    def _check_materialized(
        self, answer: PackEntry, edition: str, release: dict[str, CanonicalValue] | None = None
    ) -> None:
        """Check that an edition was online before an answer, with the versions of the views that its release pins."""
        # Rows are written one by one and can be read from the intent on; a recovery may have completed the action.
        materializations = self.book.completed("materialize", edition)
        earlier = [entry for entry in materializations if self.book.effective_from(entry) < answer.tree_index]
        if not earlier:
            self.report_gap(answer, f"it used {edition!a}, whose rows were not materialized before it")
        elif release and not any(
            ref.digest == release.get("views") for entry in earlier for ref in refs_of_kind(entry.inputs, "views")
        ):
            self.report_gap(answer, f"it used {edition!a}, which was materialized with other versions of the views")

    def _publish_entries(self, source_entry: PackEntry, edition: str) -> list[PackEntry]:
        publishes = self.book.completed("publish", edition)
        if not publishes:
            self.report_gap(source_entry, f"it names {edition!a}, and the pack has no publish entry of it")
        return publishes

    def _check_published(self, source_entry: PackEntry, ref: PackRef) -> PackEntry | None:
        publishes = self._publish_entries(source_entry, ref.name)
        if not publishes:
            return None
        if ref not in publishes[-1].outputs:
            self.report_gap(source_entry, f"{ref.name!a} was published with another digest than it names")
        self._require_order(publishes[-1], source_entry)
        return publishes[-1]

    def _check_decision(self, answer: PackEntry, ref: PackRef, content: dict[str, CanonicalValue]) -> None:
        """Apply the decision rule of the approved release again."""
        if (fault := releases.find_output_fault(content, answer.facts)) is not None:
            self.report_gap(answer, fault)
        expected_label = releases.decide_label(content, answer.facts)
        if expected_label is None or fact_text(answer, "decision") != expected_label:
            self.report_gap(answer, f"its decision does not follow from its numbers and {ref.name!a}")

    def _check_signing_key(self, answer: PackEntry) -> None:
        """Check that the signing key was recorded before the prediction, and was valid at its time."""
        key = self._single_ref(answer, answer.inputs, "key", digest=False)
        if key is None:
            return
        created = self.book.completed("create_key", key.name)
        key_entries = [entry for entry in created if entry.tree_index < answer.tree_index]
        if not key_entries:
            self.report_gap(
                answer, f"it is signed with {key.name!a}, and the pack has no earlier create_key entry of it"
            )
            return
        try:
            computed_id = answer_signature.compute_key_id(decode_base64(fact_text(key_entries[-1], "public_key")))
        except MalformedError:
            computed_id = ""
        if key.name != f"key:{computed_id}":
            self.report_gap(key_entries[-1], f"its public key is not that of {key.name!a}")
        expires = fact_text(key_entries[-1], "expires_at")
        if not (is_instant(expires) and is_instant(answer.known_since)) or expires <= answer.known_since:
            self.report_gap(answer, f"it is signed with {key.name!a}, which expired at {expires!a}")

    def _read_release(self, source_entry: PackEntry | None, ref: PackRef) -> dict[str, CanonicalValue] | None:
        """Read the text of a release: the two users signed only its digest."""
        content = self.documents.get(ref)
        if content is None:
            self.report_gap(source_entry, f"the pack does not contain the text of {ref.name!a}, which was approved")
            return None
        release = releases.parse_release(content)
        if release is None:
            self.report_gap(source_entry, f"the text of {ref.name!a} is not a release")
        return release

    def _single_ref(
        self, entry: PackEntry, refs: Iterable[PackRef], kind: str, name: str = "", *, digest: bool = True
    ) -> PackRef | None:
        """Return the only reference of a kind, with its digest; report a gap if there is not exactly one."""
        matches = [ref for ref in refs_of_kind(refs, kind) if not name or ref.name == f"{kind}:{name}"]
        if len(matches) != 1 or (digest and not matches[0].digest):
            self.report_gap(entry, f"it does not name one {kind}{' by its digest' if digest else ''}")
            return None
        return matches[0]

    def _require_order(self, early: PackEntry, late: PackEntry) -> None:
        if early.tree_index >= late.tree_index:
            self.report_gap(late, f"it precedes the {early.action} entry of {early.subject!a}, on which it depends")


_SUBJECT_CHECKS: dict[str, Callable[[_ChainChecker, str], None]] = {
    "prediction": _ChainChecker.check_prediction,
    "model": _ChainChecker.check_model,
    "release": _ChainChecker.check_release,
    "candidate": _ChainChecker.check_candidate,
    "run": _ChainChecker.check_run,
}
CHAIN_KINDS = frozenset(_SUBJECT_CHECKS)
"""The kinds of subjects that have links to check."""
