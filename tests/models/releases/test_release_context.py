"""The ledger names a release by its digest."""

from __future__ import annotations

from pathlib import Path

from tests.builders.released_model import Released
from wellspring.models.releases.release_context import build_release_ref


def test_the_reference_of_a_release_has_its_digest(tmp_path: Path):
    release = Released(tmp_path).train(1)
    ref = build_release_ref(release)
    assert (ref.name, ref.digest) == (f"release:{release.id}", release.digest)
