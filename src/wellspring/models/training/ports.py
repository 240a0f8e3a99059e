"""What a training reads, and where it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from wellspring.models.datasets.training_set import TrainingSource
from wellspring.models.spec import artifact
from wellspring.models.tracking.mlflow import RunRecord
from wellspring.records.clock import Clock
from wellspring.records.features import FeatureViews
from wellspring.records.lake import Edition
from wellspring.records.observe import Recorder
from wellspring.records.record import Digest
from wellspring.records.trust import ProjectMode, Ref
from wellspring.runtime.git import GitRevision
from wellspring.stores.locks.port import WriteFence
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring_verify import notes


class ExperimentTracker(Protocol):
    """The part of the experiment tracker that training needs (`MlflowRegistry`)."""

    def start_run(self, model: str) -> str: ...

    def log_run(
        self,
        run: str,
        *,
        edition: Edition,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None: ...

    def log_curves(self, run: str, curves: Mapping[str, Sequence[float]], *, edition: Edition) -> None: ...

    def end_run(self, run: str, *, failed: bool = False) -> None: ...

    def register_version(self, model: str, run: str, *, tags: Mapping[str, str]) -> str: ...

    def get_run(self, run: str) -> RunRecord: ...


class ModelStore(NamedTuple):
    """The storage of models. paths: the models folder; keys: the verifier keys `ORIGIN/models`, newest first."""

    objects: ContentStore
    paths: NamedBlobStore
    keys: tuple[notes.VerifierKey, ...]

    def read_artifact(self, digest: Digest) -> artifact.ModelArtifact:
        """Read the files of a model, as `artifact.read_artifact`."""
        return artifact.read_artifact(digest, objects=self.objects, paths=self.paths, keys=self.keys)

    def write_artifact(self, files: Mapping[str, bytes], signer: LogSigner) -> Digest:
        """Store the files of a model, as `artifact.write_artifact`."""
        return artifact.write_artifact(files, objects=self.objects, paths=self.paths, keys=self.keys, signer=signer)


class TrainingInputs(NamedTuple):
    """The inputs of a training besides the data.

    leaked_columns, audited_rows: of the leakage audit. landing_time: tables whose rows are known since they landed.
    mode: of the project, for the card.
    """

    source_digests: Mapping[str, Digest]
    contracts: tuple[Ref, ...]
    leaked_columns: tuple[str, ...]
    audited_rows: Mapping[str, int]
    revision: GitRevision = GitRevision()
    landing_time: tuple[str, ...] = ()
    mode: ProjectMode = "governed"


class TrainingData(NamedTuple):
    """What a model is trained on: features of a built edition. transform: digest of the edition's dbt project."""

    views: FeatureViews
    source: TrainingSource
    edition: Edition
    transform: Digest = ""


class TrainingPorts(NamedTuple):
    """Where a training reads and writes. signer: of the manifest of the model's files. fence: around the candidate."""

    step: Recorder
    tracker: ExperimentTracker
    model_store: ModelStore
    signer: LogSigner
    clock: Clock
    fence: WriteFence
