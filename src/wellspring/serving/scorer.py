"""Compute score, decision and reasons from feature rows. Pure: the same bits every time on one machine."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import CorruptedError
from wellspring.models.estimators import lightgbm
from wellspring.models.spec.artifact import ModelArtifact, read_artifact
from wellspring.records.features import FeatureRow
from wellspring.records.models import FeatureAttribution, Release
from wellspring.records.record import Digest
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring_verify import notes

if TYPE_CHECKING:
    from wellspring.models.estimators.lightgbm import Booster

MIN_REASONS, MAX_REASONS = 3, 5
"""Limits of the number of reasons; beyond the minimum, only those with a relevant contribution."""
_MIN_RELATIVE_CONTRIBUTION = 0.1


class ScoredRow(NamedTuple):
    """The result for one vector. vector_digest: see `compute_vector_digest`; raw_score: log odds before calibration."""

    vector: tuple[float, ...]
    vector_digest: Digest
    raw_score: float
    score: float
    decision: str
    reasons: tuple[FeatureAttribution, ...]


class Scorer:
    """One model in memory, with the threshold and labels of its release. Thread-safe."""

    def __init__(self, artifact: ModelArtifact, booster: Booster, *, threshold: str, labels: tuple[str, str]) -> None:
        self.artifact_digest = artifact.digest
        self.spec = artifact.spec
        self.threshold = threshold
        self.labels = labels
        self._booster = booster
        self._threshold_value = float(threshold)

    @classmethod
    def load(cls, release: Release, *, objects: ContentStore, paths: NamedBlobStore, key: notes.VerifierKey) -> Scorer:
        """Load the model of a release. key: the public key that verifies model signatures.

        Raises NotFound, Refused and CorruptedError if a file, the manifest, its signature or the inference spec does
        not match the release; no content is used before these checks.
        """
        artifact = read_artifact(release.artifact, objects=objects, paths=paths, key=key)
        if hashlib.sha256(artifact.spec.encode()).hexdigest() != release.preprocessing:
            raise CorruptedError(
                f"{release.subject} and its artifact name different inference specs", fix="do not serve this release"
            )
        if artifact.spec.model != release.model:
            raise CorruptedError(
                f"{release.subject} is a release of {release.model}, but its artifact holds {artifact.spec.model}",
                fix="do not serve this release",
            )
        booster = lightgbm.load_booster(artifact.booster_text)
        return cls(artifact, booster, threshold=release.threshold, labels=release.labels)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the key columns that a request must have, without duplicates."""
        return tuple(dict.fromkeys(column for columns in self.spec.keys.values() for column in columns))

    def score(self, rows: Mapping[str, FeatureRow | None], *, include_reasons: bool = True) -> ScoredRow:
        """Score one entity. rows: by view; a missing row makes the features of its view NaN."""
        vector = self.spec.feature_vector({view: row.values for view, row in rows.items() if row is not None})
        raw_score = lightgbm.predict_raw_score(self._booster, vector)
        score = self.spec.calibration.calibrate_score(raw_score)
        decision = self.labels[1] if score >= self._threshold_value else self.labels[0]
        reasons = self._explain_score(vector) if include_reasons else ()
        return ScoredRow(tuple(vector), compute_vector_digest(vector), raw_score, score, decision, reasons)

    def _explain_score(self, vector: Sequence[float]) -> tuple[FeatureAttribution, ...]:
        contributions = lightgbm.compute_contributions(self._booster, vector)
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
