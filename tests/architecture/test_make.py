"""The targets of `make`, and how CI calls them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture import repository

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, without the variables of an outer make."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def makefile_folder(tmp_path: Path) -> Path:
    """Return a folder that holds only a Makefile."""
    shutil.copy(repository.ROOT / "Makefile", tmp_path)
    (tmp_path / "uv.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_make_lists_its_targets(makefile_folder: Path):
    result = make(makefile_folder)
    listed = re.findall(r"^  make ([a-z]+) +\S", result.stdout, re.MULTILINE)
    assert {"demo", "test", "check", "bench", "crash", "mutation", "docs", "up", "down", "clean"} <= set(listed)


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/false", ""])
def test_without_python_the_message_says_what_to_install(makefile_folder: Path, python: str):
    result = make(makefile_folder, f"PYTHON={python}", "up")
    output = [line for line in result.stderr.splitlines() if "***" not in line]
    assert result.returncode != 0
    assert len(output) == 1
    assert "Python 3.11 or newer" in output[0]
    assert not (makefile_folder / ".uv").exists()


def test_without_the_venv_package_the_message_says_what_to_install(makefile_folder: Path):
    lame = makefile_folder / "python3"
    lame.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    lame.chmod(0o755)
    result = make(makefile_folder, f"PYTHON={lame}", "up")
    assert result.returncode != 0
    assert "install its venv package" in result.stderr


@pytest.mark.parametrize(("check", "test", "code"), [(0, 0, 0), (0, 2, 2), (3, 0, 1)])
def test_ci_ends_with_the_closing_line_of_the_tests(tmp_path: Path, check: int, test: int, code: int):
    closing = "======= 3 passed, 1 skipped in 12.31s (0:00:12) ======="
    (tmp_path / ".ci").mkdir()
    shutil.copy(repository.ROOT / ".ci/run", tmp_path / ".ci/run")
    fake = tmp_path / "bin" / "make"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/bash\n[ "$1" = system ] && exit 0\n[ "$1" = check ] && exit {check}\n[ "$CI" = true ] || exit 9\n'
        f'echo "{closing}"\n[ {test} = 0 ] || echo "make: *** Error {test}" >&2\nexit {test}\n'
    )
    fake.chmod(0o755)
    result = subprocess.run(
        ["bash", ".ci/run"],
        cwd=tmp_path, env={"PATH": f"{fake.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == code
    if check == 0:
        assert result.stdout.splitlines()[-1] == closing


def test_the_hooks_are_local_ones_only():
    yaml = pytest.importorskip("yaml")
    config = yaml.safe_load((repository.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {hooks["repo"] for hooks in config["repos"]} == {"local"}
    entries = [hook["entry"] for hooks in config["repos"] for hook in hooks["hooks"]]
    paths = [word for entry in entries for word in entry.split() if word.startswith(("tests/", "src/"))]
    assert paths
    assert [path for path in paths if not (repository.ROOT / path).exists()] == []
