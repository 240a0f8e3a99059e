"""The whole story of one answer, told by hand: each step may be left out, changed or moved before it is sealed."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import JsonValue

from tests.builders.ledger import CONTRACT, JournalStep, Ledger, sha, tell_drop
from tests.builders.packs import Built
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.compliance.evidence import collect_documents, collect_story, lay_out_pack, seal_story, write_pack
from wellspring.records.trust import Ref
from wellspring.trust.ledger import journal
from wellspring_verify import answer_signature, approvals
from wellspring_verify.canonical import dumps_canonical
from wellspring_verify.entries import PackEntry, PackRef, parse_entry

SUBJECT = "prediction:p1"
EXPIRES = "2026-11-26T12:00:00.000000Z"
TOKEN = "claim_k1_hzm3vvyqk2c5gnbrn2mkb3oqzu"
REQUESTS = sha(dumps_canonical({"claim_id": TOKEN}))
CANDIDATE = dumps_canonical({"model": "denials", "run": "r1"})
CANDIDATE_ID = sha(CANDIDATE)[:12]
RULE: dict[str, JsonValue] = {"kind": "threshold", "labels": ["pays", "denies"], "threshold": "0.5"}
RELEASE: dict[str, JsonValue] = {
    "model": "denials", "candidate": CANDIDATE_ID, "artifact": sha("artifact"), "views": sha("views"),
    "transform": sha("health_plan"),
    "preprocessing": sha("model.json"), "edition": "b1", "task": "binary",
    "decision_rule": RULE,
    "policy": sha("policies"),
}  # fmt: skip


def with_threshold(threshold: str) -> dict[str, JsonValue]:
    """Return the release with another threshold."""
    return {**RELEASE, "decision_rule": {**RULE, "threshold": threshold}}


class StoryStep(NamedTuple):
    """One step as its service journals it. late: its end is written after everything else."""

    service: str
    action: str
    subject: str
    inputs: tuple[Ref, ...] = ()
    outputs: tuple[Ref, ...] = ()
    facts: Mapping[str, JsonValue] = {}
    intent: bool = False
    late: bool = False

    def but(self, **facts: JsonValue) -> StoryStep:
        """The same with other facts."""
        return self._replace(facts={**self.facts, **facts})


class Key:
    """An Ed25519 key of a person or of an API process."""

    def __init__(self, seed: str) -> None:
        self._secret = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
        self.public = self._secret.public_key().public_bytes_raw()

    @property
    def text(self) -> str:
        return base64.b64encode(self.public).decode()

    def sign(self, message: bytes) -> str:
        return base64.b64encode(self._secret.sign(message)).decode()


API = Key("api")
KEY = f"key:{answer_signature.compute_key_id(API.public)}"


def ref(name: str, content: str | bytes | None = None) -> Ref:
    """Pin a thing; by its name's own hash if nothing else is given."""
    return Ref(name=name, digest=sha(content if content is not None else name.partition(":")[2]))


def release(content: Mapping[str, JsonValue] = RELEASE) -> Ref:
    """Pin a release by what it says of itself."""
    digest = sha(dumps_canonical(dict(content)))
    return Ref(name=f"release:{digest[:12]}", digest=digest)


def answer(**changed: object) -> dict[str, object]:
    """Give the answer of the story, with its promise."""
    output: dict[str, object] = {
        "id": "p1", "model": "denials", "release": release().name.partition(":")[2], "edition": "b1", "score": 0.8125,
        "threshold": "0.5", "decision": "denies", "reasons": [{"feature": "f", "description": "it is late",
        "contribution": 1.5}],
        "freshness": "fresh", "as_of": "2026-11-25T12:00:00.000000Z", "age_seconds": 3, "vector_digest": sha("vector"),
        "answered_at": "2026-11-25T12:00:30.000000Z", "request_digest": REQUESTS, "role": "stable", **changed,
    }  # fmt: skip
    return {
        **output,
        "signature": {
            "key_id": answer_signature.compute_key_id(API.public),
            "value": API.sign(answer_signature.signed_text(output)),
        },
    }


def people(
    proposer: str = "ines",
    approver: str = "omar",
    keys: Mapping[str, Key] | None = None,
    content: Mapping[str, JsonValue] = RELEASE,
) -> dict[str, StoryStep]:
    """Tell how two people were enrolled, and what each of them signed."""
    expected = {name: Key(name) for name in (proposer, approver)} | dict(keys or {})
    item = release(content)
    digest = item.digest or ""
    requests = approvals.proposal_text("denials", digest[:12], digest)
    agreed = approvals.approval_text("denials", digest[:12], digest)
    return {
        "enrol ines": StoryStep(
            "supervisor",
            "enroll",
            f"user:{proposer}",
            facts={"roles": ["modeller"], "public_key": expected[proposer].text},
        ),
        "enrol omar": StoryStep(
            "supervisor",
            "enroll",
            f"user:{approver}",
            facts={"roles": ["approver"], "public_key": expected[approver].text},
        ),
        "propose": StoryStep(
            "worker",
            "propose",
            item.name,
            (ref(f"candidate:{CANDIDATE_ID}", CANDIDATE),),
            (item,),
            {"user": f"user:{proposer}", "signature": expected[proposer].sign(requests)},
        ),
        "approve": StoryStep(
            "worker",
            "approve",
            item.name,
            (item,),
            (item,),
            {"user": f"user:{approver}", "key_id": "k1", "signature": expected[approver].sign(agreed)},
        ),
    }


def steps(content: Mapping[str, JsonValue] = RELEASE) -> dict[str, StoryStep]:
    """Tell every step from the built edition to the answer, in order; landed editions e0 and e1 come before."""
    item = release(content)
    artefact = ref("artifact:denials", "artifact")
    return {
        "built": StoryStep(
            "worker",
            "publish",
            "edition:b1",
            (ref("edition:e1"), ref("dbt:health_plan")),
            (ref("edition:b1"),),
            {"level": "built", "parent": "e1", "drops": []},
            intent=True,
        ),
        "materialize": StoryStep(
            "worker",
            "materialize",
            "edition:b1",
            (ref("edition:b1"), ref("views:health_plan", "views")),
            (),
            {"rows": {"claim_features": 10}},
        ),
        "train": StoryStep(
            "worker",
            "train",
            "run:r1",
            (ref("edition:b1"), ref("contract:medical_claim@1.0.0", CONTRACT), ref("views:health_plan", "views")),
            (artefact,),
        ),
        "gate": StoryStep(
            "worker",
            "gate",
            f"candidate:{CANDIDATE_ID}",
            (Ref(name="run:r1"), artefact),
            (ref(f"candidate:{CANDIDATE_ID}", CANDIDATE),),
            {"outcome": "pass", "auc": "0.85"},
        ),
        **people(content=content),
        "promote": StoryStep(
            "worker",
            "promote",
            item.name,
            (item,),
            (item,),
            {"model": "denials", "previous_release": "", "user": "user:omar"},
            intent=True,
        ),
        "key": StoryStep("api", "create_key", KEY, facts={"public_key": API.text, "expires_at": EXPIRES}),
        "predict": predict(answer(), content),
    }


def predict(output: Mapping[str, Any], content: Mapping[str, JsonValue] = RELEASE) -> StoryStep:
    """Tell how an answer was given."""
    return StoryStep(
        "api",
        "predict",
        f"prediction:{output['id']}",
        (release(content), ref("edition:b1"), Ref(name=KEY), ref("vector:p1", "vector")),
        (Ref(name=f"answer:{output['id']}", digest=answer_signature.answer_digest(output)),),
        {
            **({"mode": output["mode"]} if "mode" in output else {}),
            "model": "denials",
            "score": (0.8125).hex(),
            "decision": "denies",
            "freshness": "fresh",
            "role": "stable",
            "request_digest": REQUESTS,
            "views": {"claim_features": ["2026-11-25T12:00:00.000000Z", "7", TOKEN]},
        },
    )


def another(name: str, content: Mapping[str, JsonValue] | None = None, action: str = "promote") -> StoryStep:
    """Tell how another release of the model went live."""
    item = release(content or with_threshold(name))
    facts: dict[str, JsonValue] = {
        "model": "denials",
        "previous_release": release().name.partition(":")[2],
        "user": "user:omar",
    }
    return StoryStep("worker", action, item.name, (item,), (item,), facts, intent=True)


def record_entry(ledger: Ledger, story_steps: Mapping[str, StoryStep]) -> None:
    """Journal two drops and these steps, and integrate them."""
    tell_drop(ledger, "d0", edition="e0", parent=None)
    tell_drop(ledger, "d1", edition="e1", parent="e0")
    with ExitStack() as late:
        for item in story_steps.values():
            with ExitStack() as now:
                act = JournalStep(ledger, item.service)(
                    item.action,
                    item.subject,
                    inputs=item.inputs,
                    outputs=item.outputs,
                    intent=item.intent,
                    facts=dict(item.facts),
                )
                (late if item.late else now).enter_context(act)
    ledger.sequencer.integrate()


def entries(story_steps: Mapping[str, StoryStep]) -> list[PackEntry]:
    """Read the entries of these steps as the verifier would, without a ledger; landed editions come first."""
    landed = [
        StoryStep(
            "worker",
            "publish",
            "edition:e0",
            (),
            (ref("edition:e0"),),
            {"level": "landed", "parent": None},
            intent=True,
        ),
        StoryStep(
            "worker",
            "publish",
            "edition:e1",
            (),
            (ref("edition:e1"),),
            {"level": "landed", "parent": "e0"},
            intent=True,
        ),
    ]
    matches: list[PackEntry] = []
    clock = FixedClock()
    step = RecordingStep(clock=clock)
    for item in [*landed, *story_steps.values()]:
        clock.pass_(seconds=1)
        with step(
            item.action,
            item.subject,
            inputs=item.inputs,
            outputs=item.outputs,
            intent=item.intent,
            facts=dict(item.facts),
        ):
            pass
        for entry in step.entries[len(matches) :]:
            named = entry.model_copy(
                update={"service": item.service, "intent": entry.intent and f"{item.service}:{entry.intent[5:]}"}
            )
            matches.append(parse_entry(len(matches), journal.encode_entry(named)))
    return matches


def texts(content: Mapping[str, JsonValue] = RELEASE) -> dict[PackRef, bytes]:
    """Give the papers that the verifier reads, by what names them."""
    item = release(content)
    return {PackRef(item.name, item.digest): dumps_canonical(dict(content))}


def stored(folder: Path, content: Mapping[str, JsonValue] = RELEASE) -> Path:
    """Store the release and its candidate as wellspring stores them."""
    item = release(content)
    record = {**content, "id": item.name.partition(":")[2], "digest": item.digest, "tenant": "acme", "known_since": "x"}
    for name, text in (("releases", json.dumps(record).encode()), ("candidates", CANDIDATE)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "one.json").write_bytes(text)
    return folder


def built(
    folder: Path,
    story_steps: Mapping[str, StoryStep] | None = None,
    *,
    subject: str = SUBJECT,
    content: Mapping[str, JsonValue] = RELEASE,
    without: str = "nothing",
) -> Built:
    """Record a story, seal it and write its pack.

    without: leave out the entries of this action or about this subject, though the log has them.
    """
    ledger = Ledger(folder / "project")
    record_entry(ledger, steps() if story_steps is None else story_steps)
    item = collect_story(ledger.index, subject)
    item = dataclasses.replace(
        item, entries=tuple(entry for entry in item.entries if without not in (entry.entry.action, entry.entry.subject))
    )
    texts = collect_documents(item, contracts(folder), stored(folder / "models", content))
    seal_story(JournalStep(ledger, "worker"), ledger.index, item, texts)
    ledger.sequencer.integrate()
    write_pack(folder / "pack", item, texts, ledger.tree, ledger.index)
    assert lay_out_pack(item, ledger.origin, texts).files.keys() >= {"story.json", "story.md"}
    ledger.close()
    return Built(folder / "pack", ledger.sequencer.verifier_key(), ledger.witness.verifier_key(), folder / "project")


def contracts(folder: Path) -> Path:
    """Keep the contract that the drops were held against."""
    (folder / "contracts").mkdir(exist_ok=True)
    (folder / "contracts" / "one.yaml").write_bytes(CONTRACT)
    return folder / "contracts"


def roll_back(replaced: StoryStep, signer: str = "omar", target: str = "") -> StoryStep:
    """Tell how the release of the story was made live again in place of another. signer: whose key signed it.

    target: the release that the note names, or '' for the one before.
    """
    item, replaced_id = release(), replaced.subject.partition(":")[2]
    signed_at = "2026-11-25T12:00:14.000000Z"
    facts: dict[str, JsonValue] = {
        "model": "denials",
        "previous_release": replaced_id,
        "user": "user:omar",
        "signed_at": signed_at,
        "signature": Key(signer).sign(approvals.rollback_text("denials", replaced_id, signed_at, target)),
        **({"to_release": target} if target else {}),
    }
    return StoryStep("worker", "rollback", item.name, (item,), (item,), facts, intent=True)
