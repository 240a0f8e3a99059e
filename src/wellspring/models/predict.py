"""Rows of features -> score, decision and reasons: pure, the same bits every time on one machine."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import Broken
from wellspring.models import lightgbm
from wellspring.models.artefact import Artefact, read
from wellspring.records.data import FeatureRow
from wellspring.records.models import Because, Release
from wellspring.records.record import Digest
from wellspring.stores.objects.port import Objects, Paths
from wellspring_verify import notes

if TYPE_CHECKING:
    from wellspring.models.lightgbm import Booster

FEWEST, MOST = 3, 5
"""Reasons told with an answer; beyond the fewest, only those that count for something."""
_COUNTS = 0.1


class Scored(NamedTuple):
    """What came of one vector. vector_digest: see `vector_digest`; raw: log odds, before calibration."""

    vector: tuple[float, ...]
    vector_digest: Digest
    raw: float
    score: float
    decision: str
    reasons: tuple[Because, ...]


class Scorer:
    """One model in memory, with the threshold and labels of the release that serves it. Safe for threads."""

    def __init__(self, artefact: Artefact, booster: Booster, *, threshold: str, labels: tuple[str, str]) -> None:
        self.artefact = artefact.digest
        self.recipe = artefact.recipe
        self.threshold = threshold
        self.labels = labels
        self._booster = booster
        self._bar = float(threshold)

    @classmethod
    def load(cls, release: Release, *, objects: Objects, paths: Paths, key: notes.Key) -> Scorer:
        """Load what a release names. key: the one that signs this house's models.

        Raises NotFound, Refused and Broken when a file, the manifest, its signature or the recipe is not as named:
        nothing of it was used then.
        """
        artefact = read(release.artefact, objects=objects, paths=paths, key=key)
        if hashlib.sha256(artefact.recipe.encode()).hexdigest() != release.preprocessing:
            raise Broken(f"{release.subject} names another recipe than its artefact holds", fix="do not serve it")
        if artefact.recipe.model != release.model:
            raise Broken(f"{release.subject} is of {release.model}, and its artefact is not", fix="do not serve it")
        booster = lightgbm.load(artefact.booster)
        return cls(artefact, booster, threshold=release.threshold, labels=release.labels)

    @property
    def keys(self) -> tuple[str, ...]:
        """Name the key columns that a caller brings, each once."""
        return tuple(dict.fromkeys(column for columns in self.recipe.keys.values() for column in columns))

    def score(self, rows: Mapping[str, FeatureRow | None], *, reasons: bool = True) -> Scored:
        """Score one thing. rows: by view; a view without a row leaves its features unknown."""
        vector = self.recipe.vector({view: row.values for view, row in rows.items() if row is not None})
        raw = lightgbm.raw_score(self._booster, vector)
        score = self.recipe.calibration.probability(raw)
        decision = self.labels[1] if score >= self._bar else self.labels[0]
        because = self._because(vector) if reasons else ()
        return Scored(tuple(vector), vector_digest(vector), raw, score, decision, because)

    def _because(self, vector: Sequence[float]) -> tuple[Because, ...]:
        pushes = lightgbm.contributions(self._booster, vector)
        # By name where two push alike, so that the same vector has the same reasons.
        ranked = sorted(
            zip(self.recipe.features, pushes, strict=True),
            key=lambda each: (-abs(each[1]), each[0].view, each[0].name),
        )
        strongest = abs(ranked[0][1]) if ranked else 0.0
        told = [
            (given, push)
            for place, (given, push) in enumerate(ranked[:MOST])
            if push and (place < FEWEST or abs(push) >= _COUNTS * strongest)
        ]
        return tuple(Because(feature=f"{each.view}.{each.name}", what=each.what, push=push) for each, push in told)


def vector_digest(vector: Sequence[float]) -> Digest:
    """Hash a vector bit by bit: SHA-256 of its doubles, little-endian, every NaN as the plain one."""
    plain = [math.nan if math.isnan(each) else each for each in vector]
    return hashlib.sha256(struct.pack(f"<{len(plain)}d", *plain)).hexdigest()
