"""The reference project's model: a file that a person reads in one sitting, made of public names only."""

import ast
import re

import pytest

from tests.house import repo
from wellspring.data import features
from wellspring.models import definition
from wellspring.records.data import Views

FOLDER = repo.ROOT / "examples" / "health_plan"


@pytest.fixture(scope="module")
def views() -> Views:
    return features.load(FOLDER / "features.py", "health_plan")


def test_it_imports_the_public_face_and_nothing_else():
    source = (FOLDER / "models" / "denials.py").read_text()
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [getattr(node, "module", None) for node in imported] == ["wellspring"]
    assert len(source.splitlines()) <= 45


def test_every_feature_that_it_names_is_there(views: Views):
    model = definition.load(FOLDER / "models", "denials")
    used = {each.name for each in definition.resolve(model, views)}
    named = {*model.baselines.raw, model.baselines.rate, *(each.feature for each in model.subgroups)}
    assert named <= used
    assert len(used) > 90


def test_the_raw_columns_hold_no_history_and_no_identity(views: Views):
    model = definition.load(FOLDER / "models", "denials")
    assert {each.partition(":")[0] for each in model.baselines.raw} == {"claim_features"}
    assert [each for each in model.baselines.raw if re.search(r"\d+d$|_rate|denial|known", each)] == []
    tokens = {key for view in views.views for key in view.keys}
    assert not tokens & {each.partition(":")[2] for each in model.baselines.raw}
