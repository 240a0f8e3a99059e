"""What counts as code: each file that somebody wrote, by content and name."""

from pathlib import Path

import pytest

from tests.builders import dbt_projects as built
from wellspring.data.transform.source_digest import code_digest, is_source_file


def test_the_code_is_digested_by_content_and_name_without_what_tools_leave(tmp_path: Path):
    project = built.project(tmp_path / "dbt", {"a.sql": "select 1"})
    first = code_digest(project)
    for remaining in ("target/manifest.json", "logs/dbt.log", "models/__pycache__/x.pyc", ".user.yml"):
        (project / remaining).parent.mkdir(parents=True, exist_ok=True)
        (project / remaining).write_text("x")
    assert code_digest(project) == first
    (project / "models" / "a.sql").rename(project / "models" / "b.sql")
    assert code_digest(project) != first


@pytest.mark.parametrize("place", ["models/target/label.sql", "models/logs/x.sql", "dbt_packages/x/macros/y.sql"])
def test_a_file_that_is_built_is_code_whatever_its_folder_is_called(tmp_path: Path, place: str):
    project = built.project(tmp_path / "dbt", {f"../{place}": "select 1"})
    before = code_digest(project)
    (project / place).write_text("select 2")
    assert code_digest(project) != before


def test_what_tools_leave_is_known_by_where_it_lies(tmp_path: Path):
    remaining = ("target/x", "logs/x/y", "models/__pycache__/x", ".git/x", "models/.x.swp")
    assert not any(is_source_file(tmp_path / item, tmp_path) for item in remaining)
