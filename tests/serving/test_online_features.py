"""Online reads require a live marker, and cache readers and view definitions by digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.released_model import Released, claim, run
from wellspring.errors import Unavailable
from wellspring.records.features import FeatureViews
from wellspring.serving.online_features import OnlineFeatures


@pytest.fixture
def project(tmp_path: Path) -> Released:
    return Released(tmp_path)


def test_views_are_loaded_and_readers_opened_once_per_digest(project: Released):
    loaded_digests: list[str] = []
    reader_digests: list[str] = []

    def load_views(digest: str) -> FeatureViews:
        loaded_digests.append(digest)
        return project.views

    def open_reader(views: FeatureViews) -> object:
        reader_digests.append(views.digest)
        return project.online.reader(views)

    online = OnlineFeatures("tiny", load_views=load_views, open_reader=open_reader)  # type: ignore[arg-type]

    async def read_twice() -> None:
        row_key = ("claim", (claim(3)["claim_id"],))
        for _ in range(2):
            live, rows = await online.read_rows(online.get_views(project.views.digest), [row_key])
            assert live == project.online.live
            assert [row.key for row in rows if row is not None] == [row_key[1]]
        assert await online.read_newest_marker() == project.online.live
        await online.close()

    run(read_twice())
    assert loaded_digests == [project.views.digest]
    assert reader_digests == [project.views.digest, ""]


def test_missing_live_marker_is_unavailable(project: Released):
    project.online.live = None
    online = OnlineFeatures("tiny", load_views=project.kept_views, open_reader=project.online.reader)
    with pytest.raises(Unavailable, match="holds no edition"):
        run(online.read_newest_marker())
