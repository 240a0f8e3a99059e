"""Feature definitions are compiled in a process of project code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.builders import feast
from tests.builders.project_code import PROJECT_CODE
from wellspring.data.features import view_process, views
from wellspring.errors import NotFound, ProjectError
from wellspring.records.features import FeatureViews

pytestmark = pytest.mark.slow
DEFINITIONS = """
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

member = Entity(name="member", join_keys=["member_id"], value_type=ValueType.STRING)
history = FeatureView(
    name="member_history",
    entities=[member],
    schema=[Field(name="denials", dtype=Int64, description="denied claims of this member")],
    source=FileSource(path="member_history", timestamp_field="known_since"),
    owner="claims@example.com",
)
"""


def load(folder: Path, text: str) -> FeatureViews:
    path = folder / "features.py"
    path.write_text(text)
    return view_process.load_views(path, "acme", PROJECT_CODE)


def test_feast_checks_the_arguments_of_the_kinds_that_a_file_may_contain(tmp_path: Path):
    # The server imports Feast with fewer checks.
    with pytest.raises(ProjectError, match=r"features\.py:2: TypeCheckError: argument \"name\""):
        load(tmp_path, "from feast import Entity\nEntity(name=1)\n")


def test_it_is_compiled_in_a_process_of_its_own(tmp_path: Path):
    environment, modules = dict(os.environ), set(sys.modules)
    built = load(tmp_path, "print('I am read')\n" + DEFINITIONS)
    assert dict(os.environ) == environment
    assert not any(name.startswith("wellspring_project") for name in set(sys.modules) - modules)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["features.py"]
    feast.imported()
    assert built == views.compile_views(tmp_path / "features.py", "acme")


def test_the_process_reports_the_same_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ProjectError, match=r"features\.py:1: ZeroDivisionError") as result:
        load(tmp_path, "1 / 0")
    assert result.value.fix == f"edit {tmp_path / 'features.py'}"
    with pytest.raises(ProjectError, match="exit code 1"):
        load(tmp_path, "raise SystemExit(3)")
    monkeypatch.setattr(view_process, "COMPILE_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(ProjectError, match=r"within 0\.5 s"):
        load(tmp_path, "import threading\nthreading.Event().wait()")


def test_a_missing_definitions_file_is_not_found(tmp_path: Path):
    with pytest.raises(NotFound, match=r"features\.py"):
        view_process.load_views(tmp_path / "features.py", "acme", PROJECT_CODE)
