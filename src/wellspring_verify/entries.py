"""What an entry of the log is, read from its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from wellspring_verify.canonical import CanonicalValue, MalformedError, loads_canonical

ENTRY_PHASES = ("done", "intent", "failed", "refused")
ACTION_WRITERS = {
    "enroll": "supervisor",
    "create_key": "api",
    "predict": "api",
    **dict.fromkeys(("approve", "gate", "materialize", "promote", "propose", "publish", "rollback", "train"), "worker"),
}
"""By action: the one service whose word counts on it. In another service's journal it stands for nothing."""
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


class Ref(NamedTuple):
    """A thing named, and the SHA-256 (hex) of its bytes where it has bytes."""

    name: str
    digest: str | None


class Entry(NamedTuple):
    """One entry of the ledger, as its bytes say. place: its index in the tree."""

    tree_index: int
    service: str
    sequence: int
    actor: str
    action: str
    phase: str
    subject: str
    known_since: str
    trace: str
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    facts: dict[str, CanonicalValue]
    intent: str | None = None

    @property
    def id(self) -> str:
        return f"{self.service}:{self.sequence}"


def parse_entry(tree_index: int, content: bytes) -> Entry:
    """Read the bytes of one entry. Raises Malformed unless they are canonical and have exactly an entry's fields."""
    value = loads_canonical(content)
    if not isinstance(value, dict) or value.keys() != _ENTRY_FIELDS.keys():
        raise MalformedError("it has not the fields of an entry")
    if any(type(value[name]) not in kinds for name, kinds in _ENTRY_FIELDS.items()):
        raise MalformedError("a field of the entry has a wrong type")
    if value["version"] != 1 or value["phase"] not in ENTRY_PHASES or cast(int, value["sequence"]) < 0:
        raise MalformedError("a field of the entry has an impossible value")
    text = cast("dict[str, str]", value)
    return Entry(
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
    )


def _parse_refs(values: list[CanonicalValue]) -> tuple[Ref, ...]:
    refs: list[Ref] = []
    for value in values:
        if not isinstance(value, dict) or value.keys() != {"name", "digest"}:
            raise MalformedError("an input or output of the entry is no reference")
        name, digest = value["name"], value["digest"]
        if not isinstance(name, str) or not (digest is None or isinstance(digest, str)):
            raise MalformedError("an input or output of the entry is no reference")
        refs.append(Ref(name, digest))
    return tuple(refs)


class EntryBook:
    """The entries of one pack, asked by what was done to whom, in the order of the log."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.tree_index)
        self._intents = {entry.id: entry for entry in self.entries if entry.phase == "intent"}

    def reported(self, action: str, subject: str | None = None) -> list[Entry]:
        """List what the service that does such things says of them, whatever came of it."""
        writer = ACTION_WRITERS.get(action)
        candidates = (one for one in self.entries if one.action == action and writer in (None, one.service))
        return [self._merge_intent(one) for one in candidates if subject in (None, one.subject)]

    def completed(self, action: str, subject: str | None = None) -> list[Entry]:
        """List what came to its end. An entry that settles an intent says again what that one said."""
        return [one for one in self.reported(action, subject) if one.phase == "done"]

    def effective_from(self, entry: Entry) -> int:
        """Return the place from which an act may have had effect: that of its intent, if it has one."""
        intent = self._find_intent(entry)
        return min(entry.tree_index, intent.tree_index) if intent else entry.tree_index

    def _find_intent(self, entry: Entry) -> Entry | None:
        """Return the intent that an entry settles; one of something else, or of another service, is not it."""
        intent = self._intents.get(entry.intent or "")
        return intent if intent and _action_key(intent) == _action_key(entry) else None

    def _merge_intent(self, entry: Entry) -> Entry:
        intent = self._find_intent(entry)
        if intent is None:
            return entry
        return entry._replace(
            inputs=tuple(dict.fromkeys(intent.inputs + entry.inputs)),
            outputs=tuple(dict.fromkeys(intent.outputs + entry.outputs)),
            facts={**intent.facts, **entry.facts},
        )


def _action_key(entry: Entry) -> tuple[str, str, str]:
    return entry.service, entry.action, entry.subject


def fact_text(entry: Entry, fact: str) -> str:
    """Return one fact that is text; empty if it is none."""
    value = entry.facts.get(fact)
    return value if isinstance(value, str) else ""


def user_of(entry: Entry) -> str:
    """Name the person at whose word something was done, as `person:NAME` has it; empty if nobody is named."""
    return fact_text(entry, "user").removeprefix("user:")


def refs_of_kind(refs: Iterable[Ref], kind: str) -> list[Ref]:
    """List the things of one kind: `release:...`, `edition:...`."""
    return [ref for ref in refs if ref.name.startswith(f"{kind}:")]
