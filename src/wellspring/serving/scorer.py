"""Rows of features -> score, decision and reasons: pure, the same bits every time on one machine."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import CorruptedError
from wellspring.models.estimators import lightgbm
from wellspring.models.spec.artifact import ModelArtifact, read_artifact
from wellspring.records.data import FeatureRow
from wellspring.records.models import FeatureAttribution, Release
from wellspring.records.record import Digest
from wellspring.stores.objects.port import ContentStore, NamedBlobStore
from wellspring_verify import notes

if TYPE_CHECKING:
    from wellspring.models.estimators.lightgbm import Booster

MIN_REASONS, MAX_REASONS = 3, 5
"""Reasons told with an answer; beyond the fewest, only those that count for something."""
_MIN_RELATIVE_CONTRIBUTION = 0.1


class ScoredRow(NamedTuple):
    """What came of one vector. vector_digest: see `vector_digest`; raw: log odds, before calibration."""

    vector: tuple[float, ...]
    vector_digest: Digest
    raw_score: float
    score: float
    decision: str
    reasons: tuple[FeatureAttribution, ...]


class Scorer:
    """One model in memory, with the threshold and labels of the release that serves it. Safe for threads."""

    def __init__(self, artifact: ModelArtifact, booster: Booster, *, threshold: str, labels: tuple[str, str]) -> None:
        self.artifact_digest = artifact.digest
        self.spec = artifact.spec
        self.threshold = threshold
        self.labels = labels
        self._booster = booster
        self._threshold_value = float(threshold)

    @classmethod
    def load(cls, release: Release, *, objects: ContentStore, paths: NamedBlobStore, key: notes.VerifierKey) -> Scorer:
        """Load what a release names. key: the one that signs this house's models.

        Raises NotFound, Refused and Broken when a file, the manifest, its signature or the recipe is not as named:
        nothing of it was used then.
        """
        artifact = read_artifact(release.artifact, objects=objects, paths=paths, key=key)
        if hashlib.sha256(artifact.spec.encode()).hexdigest() != release.preprocessing:
            raise CorruptedError(
                f"{release.subject} names another recipe than its artefact holds", fix="do not serve it"
            )
        if artifact.spec.model != release.model:
            raise CorruptedError(
                f"{release.subject} is of {release.model}, and its artefact is not", fix="do not serve it"
            )
        booster = lightgbm.load_booster(artifact.booster_text)
        return cls(artifact, booster, threshold=release.threshold, labels=release.labels)

    @property
    def keys(self) -> tuple[str, ...]:
        """Name the key columns that a caller brings, each once."""
        return tuple(dict.fromkeys(column for columns in self.spec.keys.values() for column in columns))

    def score(self, rows: Mapping[str, FeatureRow | None], *, include_reasons: bool = True) -> ScoredRow:
        """Score one thing. rows: by view; a view without a row leaves its features unknown."""
        vector = self.spec.feature_vector({view: row.values for view, row in rows.items() if row is not None})
        raw_score = lightgbm.predict_raw_score(self._booster, vector)
        score = self.spec.calibration.calibrate_score(raw_score)
        decision = self.labels[1] if score >= self._threshold_value else self.labels[0]
        reasons = self._explain_score(vector) if include_reasons else ()
        return ScoredRow(tuple(vector), compute_vector_digest(vector), raw_score, score, decision, reasons)

    def _explain_score(self, vector: Sequence[float]) -> tuple[FeatureAttribution, ...]:
        contributions = lightgbm.compute_contributions(self._booster, vector)
        # By name where two push alike, so that the same vector has the same reasons.
        ranked = sorted(
            zip(self.spec.features, contributions, strict=True),
            key=lambda item: (-abs(item[1]), item[0].view, item[0].name),
        )
        strongest = abs(ranked[0][1]) if ranked else 0.0
        top_contributions = [
            (feature, contribution)
            for rank, (feature, contribution) in enumerate(ranked[:MAX_REASONS])
            if contribution and (rank < MIN_REASONS or abs(contribution) >= _MIN_RELATIVE_CONTRIBUTION * strongest)
        ]
        return tuple(
            FeatureAttribution(
                feature=f"{top_contribution.view}.{top_contribution.name}",
                description=top_contribution.description,
                contribution=push,
            )
            for top_contribution, push in top_contributions
        )


def compute_vector_digest(vector: Sequence[float]) -> Digest:
    """Hash a vector bit by bit: SHA-256 of its doubles, little-endian, every NaN as the plain one."""
    normalized = [math.nan if math.isnan(value) else value for value in vector]
    return hashlib.sha256(struct.pack(f"<{len(normalized)}d", *normalized)).hexdigest()
