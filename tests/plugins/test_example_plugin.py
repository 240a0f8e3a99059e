"""A package of another author is built, installed, found by entry point, and passes the suites of its ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import repository
from tests.builders.plugins import build_wheel, install_wheel

PLUGIN = repository.ROOT / "tests/plugins/wellspring_example_plugin"
MODEL = """
from wellspring_example_plugin.linear import Linear
from wellspring.stable import Label, ModelDefinition, Regression

delay = ModelDefinition(
    name="delay", question="How late will the parcel arrive?", label=Label(table="arrival", column="hours"),
    keys=("parcel_id",), spine="parcel", features=("parcel:*",), task=Regression(), estimator=Linear(penalty=2),
)
"""
LOAD_MODEL = """
import sys
from pathlib import Path
from wellspring.models.spec.definition import load_model_definition
print(repr(load_model_definition(Path(sys.argv[1]), "delay").estimator))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the plugin, and install it into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    return install_wheel(build_wheel(PLUGIN, folder / "dist"), folder / "site-packages")


def run_python(installed: Path | None, *words: object, cwd: Path = repository.ROOT) -> subprocess.CompletedProcess[str]:
    """Run the interpreter, with the plugin on its path if it is given."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, (installed, repository.SRC))))}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a project whose source is of the plugin's kind."""
    folder = tmp_path_factory.mktemp("projects")
    result = run_python(installed, "-m", "wellspring.cli", "new", "project", "shop", "--source", "folder", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "shop"


@pytest.mark.parametrize(
    ("suite", "name", "count"),
    [("tests/ports/test_source.py", "folder", 30), ("tests/ports/test_estimator.py", "linear", 20)],
)
def test_the_implementation_passes_the_suite_of_its_port(installed: Path, suite: str, name: str, count: int):
    result = run_python(installed, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", suite, "-k", name)
    assert result.returncode == 0, result.stdout[-3000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) >= count


def test_a_new_project_starts_with_the_template_of_the_kind(project: Path):
    assert 'kind = "folder"\nfolder = "inbox"' in (project / "wellspring.toml").read_text()


def test_doctor_reports_the_problems_that_the_kind_finds(installed: Path, project: Path):
    result = run_python(installed, "-m", "wellspring.cli", "--project", project, "doctor")
    problem = f"the folder {project / 'inbox'} does not exist"
    assert problem in result.stdout + result.stderr
    (project / "inbox").mkdir()
    result = run_python(installed, "-m", "wellspring.cli", "--project", project, "doctor")
    assert problem not in result.stdout + result.stderr


def test_an_unknown_key_of_the_kind_is_an_error_with_the_nearest_key(installed: Path, project: Path, tmp_path: Path):
    text = (project / "wellspring.toml").read_text()
    (tmp_path / "wellspring.toml").write_text(text.replace('folder = "inbox"', 'foldr = "inbox"'))
    result = run_python(installed, "-m", "wellspring.cli", "--project", tmp_path, "doctor")
    assert result.returncode == 78
    assert "did you mean 'folder'?" in result.stdout + result.stderr


def test_without_the_plugin_its_kind_is_unknown(project: Path):
    result = run_python(None, "-m", "wellspring.cli", "--project", project, "doctor")
    assert result.returncode == 78
    assert "unknown kind of source 'folder'" in result.stdout + result.stderr


def test_a_model_file_names_the_estimator(installed: Path, tmp_path: Path):
    (tmp_path / "delay.py").write_text(MODEL)
    result = run_python(installed, "-c", LOAD_MODEL, tmp_path)
    assert result.stdout.strip() == "Linear(penalty=2.0)", result.stderr


def test_the_documented_source_is_the_one_of_the_plugin():
    source = (PLUGIN / "src/wellspring_example_plugin/folder.py").read_text()
    assert source.partition('"""\n\n')[2] in (repository.ROOT / "docs/extending.md").read_text()
