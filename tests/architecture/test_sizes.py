"""Size budgets: the wheel, and what `pip install wellspring` installs without an extra."""

from collections.abc import Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.architecture import repository
from tests.builders.plugins import build_wheel

MAX_WHEEL_BYTES = 1_500_000
MAX_INSTALL_BYTES = 60_000_000


def installed_bytes(installed: Distribution) -> int:
    """Sum the sizes of the files that a package installs, without compiled caches."""
    paths = [Path(str(file.locate())) for file in installed.files or () if "__pycache__" not in file.parts]
    return sum(path.stat().st_size for path in paths if path.is_file())


def required_packages(name: str, extras: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """List the packages that a package requires on this machine, directly or through another one, with their extras."""
    pending, packages = [(name, extras)], dict[str, frozenset[str]]()
    while pending:
        package, package_extras = pending.pop()
        if package_extras <= packages.get(package, frozenset()) and package in packages:
            continue
        packages[package] = packages.get(package, frozenset()) | package_extras
        for text in distribution(package).requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*package_extras, "")
            ):
                pending.append((requirement.name.lower().replace("_", "-"), frozenset(requirement.extras)))
    del packages[name]
    return packages


def largest(sizes: Mapping[str, int]) -> str:
    """List the five largest parts for a message."""
    ranked = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    return ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in ranked)


def test_the_wheel_is_below_its_budget(tmp_path: Path):
    wheel = build_wheel(repository.ROOT, tmp_path)
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_install_without_extras_is_below_its_budget():
    sizes = {name: installed_bytes(distribution(name)) for name in required_packages("wellspring")}
    source = sum(path.stat().st_size for path in repository.SRC.rglob("*") if "__pycache__" not in path.parts)
    assert sum(sizes.values()) + source < MAX_INSTALL_BYTES, largest(sizes)


@pytest.mark.parametrize("name", ["duckdb", "lightgbm", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn"])
def test_the_install_without_extras_has_no_heavy_package(name: str):
    assert name not in required_packages("wellspring")


def test_an_extra_adds_its_packages():
    assert {"duckdb", "pyarrow"} <= required_packages("wellspring", frozenset({"lake"})).keys()
