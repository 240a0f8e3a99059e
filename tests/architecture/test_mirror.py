"""Each source file has its test file, and each test file names a source file."""

import ast
from pathlib import Path

from tests.architecture import repository

TESTS = repository.ROOT / "tests"
# Test folders that mirror no source file: rules, the mutation suite, builders, port suites, journeys, crash tests,
# simulated days, the search for personal data, packages of other authors, labelled corpora.
UNMIRRORED = {
    "architecture",
    "mutation",
    "builders",
    "ports",
    "journeys",
    "crash",
    "redteam",
    "simulation",
    "phi",
    "schemas",
    "examples",
    "plugins",
    "corpora",
}
# A source file without a test file of its own, and where it is tested instead.
ELSEWHERE = {
    "wellspring/records/contracts.py": "frozen records; tests/data/contracts/test_contract.py",
    "wellspring/records/clock.py": "two lines; every test that passes a clock",
    "wellspring/records/verdict.py": "frozen records without behavior",
    "wellspring/models/releases/store.py": "tests/models/releases/test_promotion.py",
    "wellspring/models/training/fit.py": "tests/models/training/test_train.py",
    "wellspring/records/incidents.py": "frozen records; tests/operations/test_incidents.py",
    "wellspring/records/observe.py": "a Protocol; tests/observe/test_recorder.py",
    "wellspring/bootstrap/enclave_ports.py": "tests/enclave/test_app.py",
    "wellspring/bootstrap/sequencer_ports.py": "tests/journeys/test_log_growth.py",
    "wellspring/bootstrap/job_ports.py": "tests/journeys/test_jobs.py",
    "wellspring/bootstrap/serving_ports.py": "tests/api/test_server.py",
    "wellspring/worker/job_request.py": "a record without behavior; tests/worker/test_warm_client.py",
    "wellspring/worker/job_process.py": "runs in a child; tests/worker/test_warm_client.py",
    "wellspring/worker/warm_server.py": "runs as a process; tests/worker/test_warm_client.py",
    "wellspring/worker/app.py": "runs as a process; tests/journeys/test_jobs.py",
    "wellspring/worker/handlers.py": "one call of a workflow each; tests/journeys/test_ingest.py",
}


def mirrored(source: Path) -> Path:
    """Return the path of the test file that mirrors a source file."""
    inner = source.relative_to(repository.SRC)
    # The packages of wellspring are mirrored right below tests/, wellspring_verify in tests/verify/.
    package = inner.parent.relative_to("wellspring") if inner.parts[0] == "wellspring" else "verify"
    return TESTS / package / f"test_{source.stem}.py"


def has_test(source: Path) -> bool:
    """Tell whether a source file has its test: `test_name.py`, `test_name_aspect.py`, or the suite of its port."""
    path = mirrored(source)
    return path.is_file() or any(path.parent.glob(f"{path.stem}_*.py")) or has_suite(source)


def has_suite(source: Path) -> bool:
    """Tell whether a file is an adapter whose port has a behaviour suite: `tests/ports/test_objects.py`."""
    # The port is in the adapter's folder, or in the one above it: `lake/port.py`, `lake/iceberg/table.py`.
    folders = [folder for folder in (source.parent, source.parent.parent) if (folder / "port.py").is_file()]
    suites = (
        TESTS / "ports" / f"test_{name}.py"
        for folder in folders
        for name in (folder.name, folder.name.removesuffix("s"))
    )
    return any(suite.is_file() for suite in suites)


def needs_test(source: Path) -> bool:
    """Tell whether a file holds behavior: not a port, not a `__main__.py`, not a package docstring."""
    if source.name in {"port.py", "__main__.py"}:
        return False
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in repository.tree(source).body)


def subject(source: Path) -> Path:
    """Treat a package with behavior in its `__init__.py` as a file of its name: `cli/test_cli.py`."""
    return source.with_name(f"{source.parent.name}.py") if source.name == "__init__.py" else source


def test_each_source_file_has_its_test():
    files = {
        path.relative_to(repository.SRC).as_posix(): subject(path) for path in repository.sources() if needs_test(path)
    }
    missing = [name for name, path in files.items() if name not in ELSEWHERE and not has_test(path)]
    assert missing == []


def test_each_test_file_names_a_source_file():
    lost: list[str] = []
    for path in sorted(TESTS.rglob("test_*.py")):
        inner = path.relative_to(TESTS)
        if inner.parts[0] in UNMIRRORED:
            continue
        home = repository.SRC / ("wellspring_verify" if inner.parts[0] == "verify" else "wellspring" / inner.parent)
        stems = {item.stem for item in home.glob("*.py")} | {home.name}
        name = path.stem.removeprefix("test_")
        if not any(name == stem or name.startswith(f"{stem}_") for stem in stems):
            lost.append(repository.named(path))
    assert lost == []


def test_each_exemption_is_still_needed_and_still_true():
    for name, reason in ELSEWHERE.items():
        assert (repository.SRC / name).is_file(), f"{name} is gone: take it off the list"
        for word in reason.split():
            if word.startswith("tests/"):
                assert (repository.ROOT / word).is_file(), (
                    f"{name} says that it is tested in {word}, which is not there"
                )
