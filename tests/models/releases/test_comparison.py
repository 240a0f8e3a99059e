"""A release was compared with the model that is live now, or it goes no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.released_model import Released
from wellspring.errors import Refused
from wellspring.models.releases.comparison import require_current_comparison


def test_a_release_that_was_compared_with_another_model_is_refused(tmp_path: Path):
    project = Released(tmp_path)
    early = project.train(1)
    require_current_comparison(early, project.project)
    live = project.released(2)
    with pytest.raises(Refused, match=f"evaluated against no model, but {live.candidate} is live now"):
        require_current_comparison(early, project.project)
    require_current_comparison(project.train(3), project.project)


def test_a_release_whose_candidate_did_not_pass_is_refused(tmp_path: Path):
    project = Released(tmp_path)
    weak = project.train(1, outcome="fail")
    with pytest.raises(Refused, match="has not passed the gate"):
        require_current_comparison(weak, project.project)
