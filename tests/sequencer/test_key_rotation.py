from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.builders.ledger import Ledger, LocalKeyVersions
from tests.builders.recording_step import Died, RecordingStep
from wellspring.records.trust import IndexedEntry
from wellspring.sequencer.key_rotation import KeyRotation


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path, key_versions=LocalKeyVersions())
    ledger.write(3)
    ledger.sequencer.integrate()
    return ledger


def open_rotation(
    ledger: Ledger, step: RecordingStep, *, days: int | None = 365, intents: tuple[IndexedEntry, ...] = ()
) -> KeyRotation:
    lifetime = None if days is None else timedelta(days=days)
    return KeyRotation(
        ledger.sequencer, LocalKeyVersions(), list_open_intents=lambda: intents, step=step, lifetime=lifetime
    )


def test_a_rotation_is_an_intent_and_its_end_with_both_keys(ledger: Ledger):
    step, first = RecordingStep(), ledger.sequencer.verifier_key()
    key = open_rotation(ledger, step).rotate(3)
    assert [(entry.action, entry.phase, entry.subject) for entry in step.entries] == [
        ("rotate_key", "intent", "key:ledger"),
        ("rotate_key", "done", "key:ledger"),
    ]
    assert step.entries[1].facts == {"size": 3, "former_key": first, "key": key, "version": 2}


def test_a_key_is_due_at_its_age(ledger: Ledger):
    created = LocalKeyVersions().created
    rotation = open_rotation(ledger, RecordingStep())
    assert not rotation.is_due(created + timedelta(days=364))
    assert rotation.is_due(created + timedelta(days=365))
    assert not open_rotation(ledger, RecordingStep(), days=None).is_due(created + timedelta(days=9999))


@pytest.mark.parametrize("moment", ["version-made", "succession-written", "registered"])
def test_a_killed_rotation_is_completed(tmp_path: Path, moment: str):
    def reached(name: str) -> None:
        if name == f"ledger.rotate:{moment}":
            raise Died(name)

    versions, step = LocalKeyVersions(), RecordingStep()
    killed = Ledger(tmp_path, key_versions=versions, reached=reached)
    killed.write(3)
    killed.sequencer.integrate()
    facts: dict[str, JsonValue] = {"size": 3, "former_key": killed.sequencer.verifier_key()}
    with pytest.raises(Died):
        killed.sequencer.add_log_key(3)
    intent = step.write("rotate_key", "intent", "key:ledger", intent=None, inputs=(), outputs=(), facts=facts)
    killed.close()
    ledger = Ledger(tmp_path, key_versions=versions)
    open_rotation(ledger, step, intents=(IndexedEntry(index=3, entry=intent),)).recover(ledger.tree.size)
    assert [(entry.phase, entry.intent) for entry in step.entries] == [("intent", None), ("done", intent.id)]
    assert (ledger.sequencer.signers.count, versions.latest) == (2, 2)
