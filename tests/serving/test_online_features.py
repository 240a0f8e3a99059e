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
        assert await online.read_live_marker() == project.online.live
        await online.close()

    run(read_twice())
    assert loaded_digests == reader_digests == [project.views.digest]


def test_missing_live_marker_is_unavailable(project: Released):
    project.online.live = None
    online = OnlineFeatures("tiny", load_views=project.kept_views, open_reader=project.online.reader)
    with pytest.raises(Unavailable, match="holds no edition"):
        run(online.read_live_marker())


def test_pending_definition_of_a_view_is_unavailable(project: Released):
    live = project.online.live
    assert live is not None
    changed = project.views.views[0].model_copy(update={"table": "other"})
    pending = project.views.model_copy(update={"views": (changed, *project.views.views[1:])})
    views = {project.views.digest: project.views, "0" * 64: pending}
    online = OnlineFeatures("tiny", load_views=views.__getitem__, open_reader=project.online.reader)
    online.require_current_definition(project.views.views[0], live)
    with pytest.raises(Unavailable, match="the definition of view claim is changing"):
        online.require_current_definition(project.views.views[0], live._replace(pending_views=("0" * 64,)))
