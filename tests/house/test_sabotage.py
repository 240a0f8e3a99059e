"""The claims that are sabotaged fit the code, and the runner tells a test that notices from one that does not."""

import importlib.util
import subprocess
import sys

import pytest

from tests.house import repo, sabotage

STATIC = all(importlib.util.find_spec(name) for name in ("ruff", "pyright"))


def test_each_claim_fits_the_code_and_names_a_test():
    assert sabotage.load()


def test_each_claim_is_told_once():
    claims = [each.claim for each in sabotage.load()]
    assert len(claims) == len(set(claims))


def test_a_claim_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="no sabotage 'nowhere'"):
        sabotage.load(["nowhere"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> sabotage.House:
    return sabotage.House(tmp_path_factory.mktemp("sabotage"))


UNKNOWN_KEY = sabotage.Sabotage(
    slug="unknown-key",
    claim="an unknown key in wellspring.toml is an error",
    file="src/wellspring/project.py",
    old='model_config = ConfigDict(frozen=True, extra="forbid")',
    new='model_config = ConfigDict(frozen=True, extra="ignore")',
    test="tests/test_project.py::test_an_unknown_key_is_named_with_its_line_and_the_nearest_key",
)


@pytest.mark.slow
def test_the_runner_sees_red(house: sabotage.House):
    outcome = sabotage.try_one(house, UNKNOWN_KEY, static=STATIC)
    assert (outcome.red, outcome.said) == (True, "")


@pytest.mark.slow
def test_the_runner_sees_green(house: sabotage.House):
    harmless = UNKNOWN_KEY._replace(new='model_config = ConfigDict(extra="forbid", frozen=True)')
    outcome = sabotage.try_one(house, harmless, static=False)
    assert (outcome.red, outcome.said) == (False, "its test stayed GREEN")


@pytest.mark.slow
def test_a_test_that_cannot_run_is_not_red(house: sabotage.House):
    outcome = sabotage.try_one(house, UNKNOWN_KEY._replace(test="tests/test_project.py::test_nothing"), static=False)
    assert not outcome.red
    assert "could not run" in outcome.said


@pytest.mark.slow
@pytest.mark.skipif(not STATIC, reason="`make check` brings ruff and pyright")
@pytest.mark.parametrize(
    ("new", "tool"), [('model_config = ConfigDict(frozen="so")', "pyright"), ("import os", "ruff")]
)
def test_a_clumsy_sabotage_is_seen_by_the_laws(house: sabotage.House, new: str, tool: str):
    outcome = sabotage.try_one(house, UNKNOWN_KEY._replace(new=new), static=True)
    assert not outcome.red
    assert outcome.said.startswith(f"{tool} sees it")


def test_children_run_the_copy(house: sabotage.House):
    told = house.run("wellspring_verify.canonical", timeout=60)
    where = subprocess.run(
        [str(house.python), "-c", "import wellspring; print(wellspring.__file__)"],
        cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert where.stdout.strip().startswith(str(house.root))


@pytest.mark.slow
def test_a_sample_of_the_claims_is_held():
    claims = sabotage.sample(sabotage.load(), 4)
    bad = [each for each in sabotage.run(claims, static=False, before=False) if not each.red]
    assert bad == []


def test_the_command_line_names_what_is_wrong():
    told = subprocess.run(
        [sys.executable, "-m", "tests.house.sabotage", "nowhere"],
        cwd=repo.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr.strip()) == (1, "no sabotage 'nowhere'")
