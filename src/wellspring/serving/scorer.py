"""Compute score, decision and reasons from feature rows. Pure: the same bits every time on one machine."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from wellspring.errors import CorruptedError
from wellspring.models.estimators.port import FittedModel
from wellspring.models.spec.artifact import ModelArtifact, read_artifact
from wellspring.models.tasks.port import DecodedOutput, Decoder
from wellspring.records.features import FeatureRow
from wellspring.records.models import FeatureAttribution, Release
from wellspring.records.record import Digest
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring_verify import notes

MIN_REASONS, MAX_REASONS = 3, 5
"""Limits of the number of reasons; beyond the minimum, only those with a relevant contribution."""
_MIN_RELATIVE_CONTRIBUTION = 0.1


class ScoredRow(NamedTuple):
    """The result for one vector. vector_digest: see `compute_vector_digest`."""

    vector_digest: Digest
    output: DecodedOutput
    reasons: tuple[FeatureAttribution, ...]

    @property
    def score(self) -> float:
        return self.output.score

    @property
    def decision(self) -> str:
        return self.output.decision


class Scorer:
    """One model in memory, with the decision rule of its release. Thread-safe."""

    def __init__(self, artifact: ModelArtifact, model: FittedModel, decoder: Decoder) -> None:
        self.spec = artifact.spec
        self.attribution = artifact.estimator.attribution
        self._model = model
        self._decoder = decoder

    @classmethod
    def load(
        cls, release: Release, *, objects: ContentStore, paths: NamedBlobStore, keys: Sequence[notes.VerifierKey]
    ) -> Scorer:
        """Load the model of a release. keys: the public keys, one of which verifies the model's signature.

        Raises NotFound, Refused and CorruptedError if a file, the manifest, its signature or the inference spec does
        not match the release; no content is used before these checks.
        """
        artifact = read_artifact(release.artifact, objects=objects, paths=paths, keys=keys)
        if hashlib.sha256(artifact.spec.encode()).hexdigest() != release.preprocessing:
            raise CorruptedError(
                f"{release.subject} and its artifact name different inference specs", fix="do not serve this release"
            )
        if artifact.spec.model != release.model:
            raise CorruptedError(
                f"{release.subject} is a release of {release.model}, but its artifact holds {artifact.spec.model}",
                fix="do not serve this release",
            )
        if artifact.spec.task != release.task:
            raise CorruptedError(
                f"{release.subject} is a release of the task {release.task}, but its artifact of {artifact.spec.task}",
                fix="do not serve this release",
            )
        return cls(artifact, artifact.load_model(), artifact.spec.load_decoder(release.decision_rule))

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the key columns that a request must have, without duplicates."""
        return tuple(dict.fromkeys(column for columns in self.spec.keys.values() for column in columns))

    def score(self, rows: Mapping[str, FeatureRow | None], *, include_reasons: bool = True) -> ScoredRow:
        """Score one entity. rows: by view; a missing row makes the features of its view NaN."""
        vector = self.spec.feature_vector({view: row.values for view, row in rows.items() if row is not None})
        output = self._decoder.decode_row(self._model.predict_row(vector))
        reasons = self._explain_score(vector, output.explained_output) if include_reasons else ()
        return ScoredRow(compute_vector_digest(vector), output, reasons)

    def _explain_score(self, vector: Sequence[float], explained_output: int) -> tuple[FeatureAttribution, ...]:
        contributions = self._model.explain_row(vector, explained_output)
        if contributions is None:
            return ()
        # Equal contributions are ordered by name, so that the same vector has the same reasons.
        ranked = sorted(
            zip(self.spec.features, contributions, strict=True),
            key=lambda pair: (-abs(pair[1]), pair[0].view, pair[0].name),
        )
        strongest = abs(ranked[0][1]) if ranked else 0.0
        top_contributions = [
            (feature, contribution)
            for rank, (feature, contribution) in enumerate(ranked[:MAX_REASONS])
            if contribution and (rank < MIN_REASONS or abs(contribution) >= _MIN_RELATIVE_CONTRIBUTION * strongest)
        ]
        return tuple(
            FeatureAttribution(
                feature=f"{feature.view}.{feature.name}",
                description=feature.description,
                contribution=contribution,
            )
            for feature, contribution in top_contributions
        )


def compute_vector_digest(vector: Sequence[float]) -> Digest:
    """Compute the SHA-256 of a vector: its little-endian doubles, with every NaN normalized to one bit pattern."""
    normalized = [math.nan if math.isnan(value) else value for value in vector]
    return hashlib.sha256(struct.pack(f"<{len(normalized)}d", *normalized)).hexdigest()
