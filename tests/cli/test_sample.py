"""The reference project as it ships: laid out in a new folder, and never over anything else."""

from pathlib import Path

import pytest

from tests.trust.ledger.ledgers import Ledger
from wellspring.cli import sample
from wellspring.errors import Refused
from wellspring.project import load


def test_the_template_is_found_and_is_a_project():
    assert load(sample.template()).name == "health_plan"


def test_it_is_laid_out_in_a_folder_that_is_not_there_yet(tmp_path: Path):
    sample.lay_out(tmp_path / "deep" / "demo")
    assert load(tmp_path / "deep" / "demo").sources
    assert sorted(path.name for path in (tmp_path / "deep" / "demo" / "contracts").iterdir())
    assert not list((tmp_path / "deep").rglob("__pycache__"))


def test_it_is_laid_out_in_an_empty_folder_and_again_in_its_own(tmp_path: Path):
    sample.lay_out(tmp_path)
    (tmp_path / "contracts" / "medical_claim.odcs.yaml").write_text("changed by the last demo")
    (tmp_path / "left").touch()
    sample.lay_out(tmp_path)
    template = (sample.template() / "contracts" / "medical_claim.odcs.yaml").read_text()
    assert (tmp_path / "contracts" / "medical_claim.odcs.yaml").read_text() == template
    assert not (tmp_path / "left").exists()


def test_what_was_done_by_hand_since_a_demo_ended_is_not_removed(tmp_path: Path):
    sample.lay_out(tmp_path)
    here = load(tmp_path)
    ledger = Ledger(here.state)
    stopped: list[str] = []

    def again() -> None:
        sample.lay_out(tmp_path, before=lambda project: stopped.append(project.name))

    def written(action: str, service: str) -> None:
        ledger.write(1, service, action=action)
        ledger.sequencer.integrate()

    written("publish", "worker")
    sample.end(tmp_path)
    written("enrol", "supervisor")
    with pytest.raises(Refused, match="done by hand since its demo ended"):
        again()
    assert stopped == []
    sample.end(tmp_path)
    written("start", "supervisor")
    written("prove", "worker")
    ledger.close()
    again()
    assert stopped == ["health_plan"]
    assert not here.state.exists()


@pytest.mark.parametrize("holds", ["thesis.txt", "wellspring.toml", ".hidden"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path, holds: str):
    (tmp_path / holds).write_text("years of work")
    with pytest.raises(Refused, match="no demo made"):
        sample.lay_out(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(holds, "years of work")]


def test_the_vendor_is_the_templates_own_and_leaves_no_path_behind():
    import sys

    before = list(sys.path)
    assert callable(sample.vendor().good)
    assert sys.path == before
