"""Write OpenLineage events, built from ledger entries, to a file that another tool can forward.

This module builds the JSON itself because the import of openlineage-python takes 0.9 s, more than a whole step. The
tests compare every event with the published schemas and with the output of openlineage-python.
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

from wellspring.records.record import format_instant
from wellspring.records.trust import Entry, Ref

PRODUCER = "https://wellspring.example.com/observe"
OPENLINEAGE_SPEC = "https://openlineage.io/spec"
SAMPLE_INTERVAL = timedelta(minutes=1)
"""Minimum interval between two events of one action and first input; the ledger holds every entry."""


class LineageWriter:
    """Append RunEvents to a file, one per line, in the order of the ledger entries.

    A run is a step: its id derives from the id of its first entry, so the ledger can reproduce the events.
    project: its name; jobs and datasets have the namespace `wellspring://<project>`.
    """

    def __init__(self, path: Path, project: str) -> None:
        self.path = path
        self.namespace = f"wellspring://{project}"
        self._lock = threading.Lock()
        self._last_written: dict[tuple[str, str], datetime] = {}

    def write_events(self, entry: Entry, *, started_at: str | None) -> None:
        """Append the events of an entry. started_at: start of the step if its START event is not yet written.

        An intent entry gives START; others give COMPLETE, or FAIL if the step failed or was refused.
        Raises OSError; then nothing is appended.
        """
        events: list[dict[str, Any]] = []
        if started_at is not None:
            events.append(self.build_event(entry, "START", event_time=started_at))
        if entry.phase != "intent":
            events.append(self.build_event(entry, "COMPLETE" if entry.phase == "done" else "FAIL"))
        lines = "".join(f"{json.dumps(event, separators=(',', ':'), ensure_ascii=False)}\n" for event in events)
        _append_lines(self.path, lines.encode())

    def append_sampled(self, entry: Entry) -> None:
        """Append the event of an entry unless one of the same action and first input was written within a minute."""
        sample_key = entry.action, entry.inputs[0].name if entry.inputs else ""
        with self._lock:
            last_written_at = self._last_written.get(sample_key)
            if last_written_at is not None and abs(entry.known_since - last_written_at) < SAMPLE_INTERVAL:
                return
            self._last_written[sample_key] = entry.known_since
        self.write_events(entry, started_at=None)

    def build_event(self, entry: Entry, event_type: str, *, event_time: str | None = None) -> dict[str, Any]:
        """Build one RunEvent. event_time: its time if it differs from the entry's known_since."""
        facets: dict[str, Any] = {
            "tags": _build_facet(
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
        if event_type == "FAIL":
            # Only the class of the exception: its text may quote data values.
            message = str(entry.facts.get("error") or entry.phase)
            facets["errorMessage"] = _build_facet(
                "1-0-1/ErrorMessageRunFacet", message=message, programmingLanguage="PYTHON"
            )
        return {
            "eventType": event_type,
            "eventTime": event_time or format_instant(entry.known_since),
            "producer": PRODUCER,
            "schemaURL": f"{OPENLINEAGE_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": self.run_id(entry.intent or entry.id), "facets": facets},
            "job": {"namespace": self.namespace, "name": f"{entry.service}.{entry.action}", "facets": {}},
            "inputs": [self._build_dataset(ref) for ref in _unique_refs(entry.inputs)],
            "outputs": [self._build_dataset(ref) for ref in _unique_refs(entry.outputs)],
        }

    def run_id(self, entry_id: str) -> str:
        """Derive the run id (UUID 5) of a step from the id of its first entry: its intent, else its only entry."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.namespace}/{entry_id}"))

    def _build_dataset(self, ref: Ref) -> dict[str, Any]:
        # snapshot:orders@123 is version 123 of one dataset; original:ID is a dataset of its own.
        name, _, version = ref.name.partition("@")
        facets: dict[str, Any] = {}
        if version or ref.digest:
            facets["version"] = _build_facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=version or ref.digest)
        if version and ref.digest:
            tags = [{"key": "sha256", "value": ref.digest, "source": "wellspring"}]
            facets["tags"] = _build_facet("1-0-0/TagsDatasetFacet", tags=tags)
        return {"namespace": self.namespace, "name": name, "facets": facets}


def _build_facet(schema: str, **fields: Any) -> dict[str, Any]:
    version, name = schema.split("/")
    url = f"{OPENLINEAGE_SPEC}/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **fields}


def _unique_refs(refs: Iterable[Ref]) -> Iterable[Ref]:
    return dict.fromkeys(refs)


def _append_lines(path: Path, lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, lines) != len(lines):
            # The disk is full: remove the partial line, so that the file holds only complete lines.
            os.ftruncate(descriptor, size)
            raise OSError("a lineage event was cut short")
    finally:
        os.close(descriptor)
