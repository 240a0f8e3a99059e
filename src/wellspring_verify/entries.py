"""Parse the entries of the log, and look them up by action and subject."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from wellspring_verify.canonical import CanonicalValue, MalformedError, loads_canonical
from wellspring_verify.entry_signature import service_of
from wellspring_verify.leaf import parse_leaf

ENTRY_PHASES = ("done", "intent", "failed", "refused")
ACTION_WRITERS = {
    "enroll": "supervisor",
    "mode": "supervisor",
    "create_key": "api",
    "predict": "api",
    **dict.fromkeys(("approve", "gate", "materialize", "promote", "propose", "publish", "rollback", "train"), "worker"),
    **dict.fromkeys(("activate", "deploy", "evaluate", "undeploy"), "worker"),
}
"""By action: the one service that may record it. Entries of the action from other services are ignored.

A service that runs several jobs at a time has a journal for each: `worker`, `worker-2`.
"""
SIGNATURE = "signature"
"""The member of an entry that is not in the entry of an answer (`entry_signature`)."""
_ENTRY_FIELDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "service": (str,),
    "sequence": (int,),
    "actor": (str,),
    "action": (str,),
    "phase": (str,),
    "subject": (str,),
    "intent": (str, type(None)),
    "inputs": (list,),
    "outputs": (list,),
    "facts": (dict,),
    "trace": (str,),
    "tenant": (str,),
    "known_since": (str,),
}


class PackRef(NamedTuple):
    """A reference: a name, and the SHA-256 (hex) of the bytes of the thing where it has bytes."""

    name: str
    digest: str | None


class PackEntry(NamedTuple):
    """One entry of the ledger. tree_index: its index in the tree."""

    tree_index: int
    service: str
    sequence: int
    actor: str
    action: str
    phase: str
    subject: str
    known_since: str
    trace: str
    inputs: tuple[PackRef, ...]
    outputs: tuple[PackRef, ...]
    facts: dict[str, CanonicalValue]
    intent: str | None = None
    signature: CanonicalValue = None

    @property
    def owner(self) -> str:
        """The service to which the journal belongs: `worker` for the journals `worker` and `worker-2`."""
        return service_of(self.service)

    @property
    def id(self) -> str:
        return f"{self.service}:{self.sequence}"


def parse_entry(tree_index: int, content: bytes) -> PackEntry:
    """Read the bytes of one entry. Raises MalformedError unless they are canonical, with exactly an entry's fields."""
    value = loads_canonical(content)
    if not isinstance(value, dict) or value.keys() - {SIGNATURE} != _ENTRY_FIELDS.keys():
        raise MalformedError("it does not have the fields of an entry")
    if any(type(value[name]) not in kinds for name, kinds in _ENTRY_FIELDS.items()):
        raise MalformedError("a field of the entry has a wrong type")
    if value["version"] != 1 or value["phase"] not in ENTRY_PHASES or cast(int, value["sequence"]) < 0:
        raise MalformedError("a field of the entry has an impossible value")
    text = cast("dict[str, str]", value)
    return PackEntry(
        tree_index=tree_index,
        service=text["service"],
        sequence=cast(int, value["sequence"]),
        actor=text["actor"],
        action=text["action"],
        phase=text["phase"],
        subject=text["subject"],
        known_since=text["known_since"],
        trace=text["trace"],
        inputs=_parse_refs(cast("list[CanonicalValue]", value["inputs"])),
        outputs=_parse_refs(cast("list[CanonicalValue]", value["outputs"])),
        facts=cast("dict[str, CanonicalValue]", value["facts"]),
        intent=cast("str | None", value["intent"]),
        signature=value.get(SIGNATURE),
    )


def parse_stored_entry(tree_index: int, content: bytes, files: Mapping[str, bytes]) -> PackEntry:
    """Read one entry of a pack: its leaf, or the line whose digest the leaf holds. files: of the pack, by name.

    Raises MalformedError also if the line is missing, changed, or of another entry.
    """
    leaf = parse_leaf(content)
    if leaf is None:
        return parse_entry(tree_index, content)
    line = files.get(leaf.document)
    if line is None:
        raise MalformedError(f"it holds the digest of a line, and {leaf.document} is missing")
    if hashlib.sha256(line).hexdigest() != leaf.digest:
        raise MalformedError(f"{leaf.document} is not the line whose digest it holds")
    entry = parse_entry(tree_index, line)
    if entry.id != leaf.id:
        raise MalformedError(f"it is the leaf of {leaf.id}, and its line is of {entry.id!a}")
    return entry


def _parse_refs(values: list[CanonicalValue]) -> tuple[PackRef, ...]:
    refs: list[PackRef] = []
    for value in values:
        if not isinstance(value, dict) or value.keys() != {"name", "digest"}:
            raise MalformedError("an input or output of the entry is not a reference")
        name, digest = value["name"], value["digest"]
        if not isinstance(name, str) or not (digest is None or isinstance(digest, str)):
            raise MalformedError("an input or output of the entry is not a reference")
        refs.append(PackRef(name, digest))
    return tuple(refs)


class EntryBook:
    """The entries of one pack, by action and subject, in the order of the log."""

    def __init__(self, entries: Iterable[PackEntry]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.tree_index)
        self._intents = {entry.id: entry for entry in self.entries if entry.phase == "intent"}

    def reported(self, action: str, subject: str | None = None) -> list[PackEntry]:
        """List the entries of an action by its own service (see ACTION_WRITERS), merged with their intents."""
        writer = ACTION_WRITERS.get(action)
        recorded = (entry for entry in self.entries if entry.action == action and writer in (None, entry.owner))
        return [self._merge_intent(entry) for entry in recorded if subject in (None, entry.subject)]

    def completed(self, action: str, subject: str | None = None) -> list[PackEntry]:
        """List the completed entries of an action, each with the references and facts of its intent."""
        return [entry for entry in self.reported(action, subject) if entry.phase == "done"]

    def effective_from(self, entry: PackEntry) -> int:
        """Return the tree index from which an action may have had effect: that of its intent, if it has one."""
        intent = self._find_intent(entry)
        return min(entry.tree_index, intent.tree_index) if intent else entry.tree_index

    def _find_intent(self, entry: PackEntry) -> PackEntry | None:
        """Return the intent that an entry settles: of the same service, action and subject."""
        intent = self._intents.get(entry.intent or "")
        return intent if intent and _action_key(intent) == _action_key(entry) else None

    def _merge_intent(self, entry: PackEntry) -> PackEntry:
        intent = self._find_intent(entry)
        if intent is None:
            return entry
        return entry._replace(
            inputs=tuple(dict.fromkeys(intent.inputs + entry.inputs)),
            outputs=tuple(dict.fromkeys(intent.outputs + entry.outputs)),
            facts={**intent.facts, **entry.facts},
        )


def _action_key(entry: PackEntry) -> tuple[str, str, str]:
    return entry.owner, entry.action, entry.subject


def fact_text(entry: PackEntry, fact: str) -> str:
    """Return a fact that is text; an empty string if it is missing or has another type."""
    value = entry.facts.get(fact)
    return value if isinstance(value, str) else ""


def user_of(entry: PackEntry) -> str:
    """Return the name of the user who requested an action; an empty string if the entry names none."""
    return fact_text(entry, "user").removeprefix("user:")


def refs_of_kind(refs: Iterable[PackRef], kind: str) -> list[PackRef]:
    """List the references of one kind: `release:...`, `edition:...`."""
    return [ref for ref in refs if ref.name.startswith(f"{kind}:")]
