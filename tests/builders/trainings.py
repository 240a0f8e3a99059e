"""A training of a model on synthetic data: what it is handed, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders.leases import ScriptedFence
from tests.builders.model_files import Signer
from tests.builders.recording_step import FixedClock, RecordingStep
from tests.builders.synthetic_world import MemoryRuns, World, model, views
from wellspring.models.training import train
from wellspring.models.training.ports import ModelStore, TrainingData, TrainingInputs, TrainingPorts
from wellspring.records.trust import Ref
from wellspring.stores.objects.disk import DiskBlobStore, DiskContentStore

CODE = {"models/denials.py": "1" * 64, "features.py": "2" * 64, "dbt/models/a.sql": "3" * 64}
CONTRACTS = (Ref(name="contract:medical_claim@1.0.0", digest="4" * 64),)

AUDITED = {"claim_features": 5, "provider_history": 5, "claim_label": 5}


class ProjectFixture:
    """What a training is handed, in a folder."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        self.signer = Signer()
        self.runs = MemoryRuns()
        self.step = RecordingStep()
        self.model_store = ModelStore(
            DiskContentStore(folder / "objects"), DiskBlobStore(folder), (self.signer.verifier_key,)
        )
        self.stages: list[str] = []

    def ports(self) -> TrainingPorts:
        return TrainingPorts(self.step, self.runs, self.model_store, self.signer, FixedClock(), ScriptedFence())

    def train(
        self, *, live=None, leaks: tuple[str, ...] = (), audited=AUDITED, views_=None, landing=(), **changes: Any
    ):
        return train.train_candidate(
            model(**changes), TrainingData(views_ or views(), self.world.source, self.world.edition),
            TrainingInputs(CODE, CONTRACTS, leaks, audited, landing_time=landing), champion=live,
            ports=self.ports(), progress=lambda stage, done, total: self.stages.append(stage),
        )  # fmt: skip

    def reproduce(self, run: str, *, source_digests=CODE, **changes: Any):
        return train.reproduce_run(
            run, model(**changes), lambda name: TrainingData(views(), self.world.source, self.world.find(name)),
            source_digests=source_digests, ports=self.ports(), progress=lambda *output: None,
        )  # fmt: skip
