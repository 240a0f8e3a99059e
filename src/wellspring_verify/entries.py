"""What an entry of the log is, read from its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from wellspring_verify.canonical import Malformed, Value, loads_strict

PHASES = ("done", "intent", "failed", "refused")
WRITERS = {
    "enrol": "supervisor",
    "key": "api",
    "predict": "api",
    **dict.fromkeys(("approve", "gate", "materialize", "promote", "propose", "publish", "rollback", "train"), "worker"),
}
"""By action: the one service whose word counts on it. In another service's journal it stands for nothing."""
_SHAPE: dict[str, tuple[type, ...]] = {
    "v": (int,),
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

    place: int
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
    facts: dict[str, Value]
    intent: str | None = None

    @property
    def id(self) -> str:
        return f"{self.service}:{self.sequence}"


def read(place: int, data: bytes) -> Entry:
    """Read the bytes of one entry. Raises Malformed unless they are canonical and have exactly an entry's fields."""
    value = loads_strict(data)
    if not isinstance(value, dict) or value.keys() != _SHAPE.keys():
        raise Malformed("it has not the fields of an entry")
    if any(type(value[name]) not in kinds for name, kinds in _SHAPE.items()):
        raise Malformed("a field of the entry has a wrong type")
    if value["v"] != 1 or value["phase"] not in PHASES or cast(int, value["sequence"]) < 0:
        raise Malformed("a field of the entry has an impossible value")
    text = cast("dict[str, str]", value)
    return Entry(
        place=place,
        service=text["service"],
        sequence=cast(int, value["sequence"]),
        actor=text["actor"],
        action=text["action"],
        phase=text["phase"],
        subject=text["subject"],
        known_since=text["known_since"],
        trace=text["trace"],
        inputs=_refs(cast("list[Value]", value["inputs"])),
        outputs=_refs(cast("list[Value]", value["outputs"])),
        facts=cast("dict[str, Value]", value["facts"]),
        intent=cast("str | None", value["intent"]),
    )


def _refs(values: list[Value]) -> tuple[Ref, ...]:
    refs: list[Ref] = []
    for value in values:
        if not isinstance(value, dict) or value.keys() != {"name", "digest"}:
            raise Malformed("an input or output of the entry is no reference")
        name, digest = value["name"], value["digest"]
        if not isinstance(name, str) or not (digest is None or isinstance(digest, str)):
            raise Malformed("an input or output of the entry is no reference")
        refs.append(Ref(name, digest))
    return tuple(refs)


class Book:
    """The entries of one pack, asked by what was done to whom, in the order of the log."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.place)
        self._intents = {entry.id: entry for entry in self.entries if entry.phase == "intent"}

    def told(self, action: str, subject: str | None = None) -> list[Entry]:
        """List what the service that does such things says of them, whatever came of it."""
        writer = WRITERS.get(action)
        wanted = (one for one in self.entries if one.action == action and writer in (None, one.service))
        return [self._whole(one) for one in wanted if subject in (None, one.subject)]

    def done(self, action: str, subject: str | None = None) -> list[Entry]:
        """List what came to its end. An entry that settles an intent says again what that one said."""
        return [one for one in self.told(action, subject) if one.phase == "done"]

    def start(self, entry: Entry) -> int:
        """Return the place from which an act may have had effect: that of its intent, if it has one."""
        intent = self._intent(entry)
        return min(entry.place, intent.place) if intent else entry.place

    def _intent(self, entry: Entry) -> Entry | None:
        """Return the intent that an entry settles; one of something else, or of another service, is not it."""
        found = self._intents.get(entry.intent or "")
        return found if found and _act(found) == _act(entry) else None

    def _whole(self, entry: Entry) -> Entry:
        intent = self._intent(entry)
        if intent is None:
            return entry
        return entry._replace(
            inputs=tuple(dict.fromkeys(intent.inputs + entry.inputs)),
            outputs=tuple(dict.fromkeys(intent.outputs + entry.outputs)),
            facts={**intent.facts, **entry.facts},
        )


def _act(entry: Entry) -> tuple[str, str, str]:
    return entry.service, entry.action, entry.subject


def text(entry: Entry, fact: str) -> str:
    """Return one fact that is text; empty if it is none."""
    value = entry.facts.get(fact)
    return value if isinstance(value, str) else ""


def person(entry: Entry) -> str:
    """Name the person at whose word something was done, as `person:NAME` has it; empty if nobody is named."""
    return text(entry, "person").removeprefix("user:")


def of_kind(refs: Iterable[Ref], kind: str) -> list[Ref]:
    """List the things of one kind: `release:...`, `edition:...`."""
    return [ref for ref in refs if ref.name.startswith(f"{kind}:")]
