"""The import contracts hold, and commands that must answer at once load no heavy module."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import repository

HEAVY = {
    "asyncssh", "boto3", "duckdb", "hvac", "lightgbm", "numpy", "open_data_contract_standard", "openlineage", "optuna",
    "pandas", "polars", "prometheus_client", "psycopg", "pyarrow", "pyiceberg", "requests", "rich", "sklearn",
    "sqlalchemy",
}  # fmt: skip
LIST_MODULES = "import json, sys; json.dump(sorted({name.partition('.')[0] for name in sys.modules}), sys.stderr)"
VERSION = """
import sys
sys.argv = ["wellspring", "--version"]
from wellspring.cli import main
try:
    main()
except SystemExit:
    pass
"""


def python(code: str, *, isolated: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a fresh interpreter that finds the sources first."""
    environ = {**os.environ, "PYTHONPATH": str(repository.SRC)}
    flags = ["-I"] if isolated else []
    return subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, env=environ, timeout=60, check=True
    )


def modules(code: str) -> set[str]:
    """Run code, and list the top-level modules that it loaded."""
    return set(json.loads(python(f"{code}\n{LIST_MODULES}").stderr.strip().splitlines()[-1]))


def measure_cpu_seconds(argv: list[str], *, enough: float, tries: int = 15) -> float:
    """Return the least processor time that a command took: other processes share the machine.

    enough: seconds after which no further try is needed.
    """
    best = float("inf")
    for _ in range(tries):
        before = os.times()
        subprocess.run(argv, capture_output=True, timeout=60, check=False)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, spent)
        if best <= enough:
            break
    return best


def test_the_import_contracts_hold():
    pytest.importorskip("importlinter", reason="`make check` brings import-linter")
    lint = "from importlinter.cli import lint_imports_command as run; run()"
    result = subprocess.run(
        [sys.executable, "-c", lint, "--no-cache", "--no-logo"],
        cwd=repository.ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    # Such a line would allow an import that no file makes any more.
    assert "No matches for ignored import" not in result.stdout + result.stderr, result.stdout + result.stderr


def test_the_version_loads_nothing_heavy():
    assert modules(VERSION) & HEAVY == set()


def test_the_public_names_load_nothing_heavy():
    assert modules("import wellspring.stable") & HEAVY == set()


@pytest.mark.parametrize(
    "module", [path.stem for path in repository.sources("wellspring_verify") if path.stem != "__main__"]
)
def test_the_verifier_loads_only_the_standard_library_and_one_crypto_library(module: str):
    name = "wellspring_verify" if module == "__init__" else f"wellspring_verify.{module}"
    bare = modules("pass")
    loaded = modules(f"import {name}") - bare - set(sys.stdlib_module_names)
    # _cffi_backend and _openssl are the compiled half of the crypto library.
    assert loaded <= {"wellspring_verify", "cryptography", "_cffi_backend", "_openssl"}


def test_reading_a_project_loads_nothing_heavy():
    assert modules("import wellspring.project, wellspring.records.ingestion, wellspring.errors") & HEAVY == set()


def command() -> str:
    """Find the installed command beside this interpreter."""
    path = Path(sys.executable).with_name("wellspring")
    if not path.exists():
        pytest.skip("wellspring is not installed beside this interpreter")
    return str(path)


def test_the_version_takes_three_tenths_of_a_second():
    assert measure_cpu_seconds([command(), "--version"], enough=0.3) <= 0.3


def test_verify_takes_less_than_a_second_to_start(tmp_path: Path):
    # The start is what is measured here: an empty folder is refused at once.
    assert measure_cpu_seconds([command(), "verify", str(tmp_path)], enough=1.0) <= 1.0
