"""OpenLineage events, made from ledger entries, appended to a file that somebody may forward.

The JSON is written here, and not by openlineage-python: importing that takes 0.9 s, more than a whole step. The tests
hold every event against the published schemas and against what openlineage-python itself would have written.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from wellspring.records.record import stamp
from wellspring.records.trust import Entry, Ref

PRODUCER = "https://wellspring.example.com/observe"
SPEC = "https://openlineage.io/spec"
EVERY = timedelta(minutes=1)
"""How often the answers of one action from one source are told: each of them stands in the ledger anyway."""


class Lineage:
    """An outbox: one RunEvent a line, in the order of the ledger entries that they tell of.

    A run is a step: its id comes from its first entry's id, so the events can be made again from the ledger.
    project: its name, for the namespace `wellspring://<project>` of jobs and datasets.
    """

    def __init__(self, path: Path, project: str) -> None:
        self.path = path
        self.namespace = f"wellspring://{project}"
        self._turn = threading.Lock()
        self._sampled: dict[tuple[str, str], datetime] = {}

    def write(self, entry: Entry, *, started: str | None) -> None:
        """Append what an entry says. started: when the step began, if its START has not been written yet.

        The entry of an intent is a START; any other is a COMPLETE, or a FAIL if it failed or was refused.
        Raises OSError; then nothing was appended.
        """
        events: list[dict[str, Any]] = []
        if started is not None:
            events.append(self.event(entry, "START", at=started))
        if entry.phase != "intent":
            events.append(self.event(entry, "COMPLETE" if entry.phase == "done" else "FAIL"))
        lines = "".join(f"{json.dumps(event, separators=(',', ':'), ensure_ascii=False)}\n" for event in events)
        _append(self.path, lines.encode())

    def sample(self, entry: Entry) -> None:
        """Append what one of many entries says, if none of its action and first input was told within a minute."""
        source = entry.action, entry.inputs[0].name if entry.inputs else ""
        with self._turn:
            last = self._sampled.get(source)
            if last is not None and abs(entry.known_since - last) < EVERY:
                return
            self._sampled[source] = entry.known_since
        self.write(entry, started=None)

    def event(self, entry: Entry, kind: str, *, at: str | None = None) -> dict[str, Any]:
        """Make one RunEvent. at: its time, if not the entry's own."""
        facets: dict[str, Any] = {
            "tags": _facet(
                "1-0-0/TagsRunFacet",
                tags=[
                    {"key": key, "value": value, "source": "wellspring"}
                    for key, value in (
                        ("entry", entry.id),
                        ("subject", entry.subject),
                        ("tenant", entry.tenant),
                        ("trace", entry.trace),
                    )
                ],
            )
        }
        if kind == "FAIL":
            # The exception's class and no more: its text may quote the data it choked on.
            message = str(entry.facts.get("error") or entry.phase)
            facets["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", message=message, programmingLanguage="PYTHON")
        return {
            "eventType": kind,
            "eventTime": at or stamp(entry.known_since),
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": self.run_id(entry.intent or entry.id), "facets": facets},
            "job": {"namespace": self.namespace, "name": f"{entry.service}.{entry.action}", "facets": {}},
            "inputs": [self._dataset(ref) for ref in _once(entry.inputs)],
            "outputs": [self._dataset(ref) for ref in _once(entry.outputs)],
        }

    def run_id(self, entry_id: str) -> str:
        """Name the run of a step by the id of its first entry: its intent, else its only one."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.namespace}/{entry_id}"))

    def _dataset(self, ref: Ref) -> dict[str, Any]:
        # snapshot:medical_claim@123 is version 123 of one dataset; original:ID is a dataset of its own.
        name, _, version = ref.name.partition("@")
        facets: dict[str, Any] = {}
        if version or ref.digest:
            facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=version or ref.digest)
        if version and ref.digest:
            tags = [{"key": "sha256", "value": ref.digest, "source": "wellspring"}]
            facets["tags"] = _facet("1-0-0/TagsDatasetFacet", tags=tags)
        return {"namespace": self.namespace, "name": name, "facets": facets}


def _facet(schema: str, **fields: Any) -> dict[str, Any]:
    version, name = schema.split("/")
    url = f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **fields}


def _once(refs: Iterable[Ref]) -> Iterable[Ref]:
    return dict.fromkeys(refs)


def _append(path: Path, lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(handle).st_size
        if os.write(handle, lines) != len(lines):
            # The disk is full in the middle of a line: take it back, so that the file stays whole lines.
            os.ftruncate(handle, size)
            raise OSError("a lineage event was cut short")
    finally:
        os.close(handle)
