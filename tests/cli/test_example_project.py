"""The reference project is copied to a new folder, and never over other files."""

from pathlib import Path

import pytest

from tests.builders.ledger import Ledger
from wellspring.cli import example_project
from wellspring.errors import Refused
from wellspring.project import load_project


def test_the_reference_project_is_found():
    assert load_project(example_project.find_example()).name == "health_plan"


def test_it_is_copied_to_a_new_folder(tmp_path: Path):
    example_project.copy_example(tmp_path / "deep" / "demo")
    assert load_project(tmp_path / "deep" / "demo").sources
    assert sorted(path.name for path in (tmp_path / "deep" / "demo" / "contracts").iterdir())
    assert not list((tmp_path / "deep").rglob("__pycache__"))


def test_it_is_copied_to_an_empty_folder_and_again_over_itself(tmp_path: Path):
    example_project.copy_example(tmp_path)
    (tmp_path / "contracts" / "medical_claim.odcs.yaml").write_text("changed by the last demo")
    (tmp_path / "left").touch()
    example_project.copy_example(tmp_path)
    template = (example_project.find_example() / "contracts" / "medical_claim.odcs.yaml").read_text()
    assert (tmp_path / "contracts" / "medical_claim.odcs.yaml").read_text() == template
    assert not (tmp_path / "left").exists()


def test_a_folder_that_changed_since_its_demo_is_refused(tmp_path: Path):
    example_project.copy_example(tmp_path)
    project_value = load_project(tmp_path)
    ledger = Ledger(project_value.state_dir)
    stopped: list[str] = []

    def again() -> None:
        example_project.copy_example(tmp_path, before_removal=lambda project: stopped.append(project.name))

    def written(action: str, service: str) -> None:
        ledger.write(1, service, action=action)
        ledger.sequencer.integrate()

    written("publish", "worker")
    example_project.record_demo_end(tmp_path)
    written("enroll", "supervisor")
    with pytest.raises(Refused, match="has changed since its demo ended"):
        again()
    assert stopped == []
    example_project.record_demo_end(tmp_path)
    written("start", "supervisor")
    written("prove", "worker")
    ledger.close()
    again()
    assert stopped == ["health_plan"]
    assert not project_value.state_dir.exists()


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml", ".hidden"])
def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path, holds: str):
    (tmp_path / holds).write_text("years of work")
    with pytest.raises(Refused, match="no demo created it"):
        example_project.copy_example(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(holds, "years of work")]


def test_the_vendor_module_leaves_the_import_path_unchanged():
    import sys

    before = list(sys.path)
    assert callable(example_project.load_vendor_module().good)
    assert sys.path == before
