"""What several tests use stands in a builder: no test module and no conftest is imported by name."""

import ast
from pathlib import Path

from tests.architecture import repository


def imported(path: Path) -> list[tuple[int, str]]:
    """List the dotted names that a file imports, each with its line: `tests.cli.conftest`, `tests.cli.conftest.Run`."""
    names: list[tuple[int, str]] = []
    for node in ast.walk(repository.tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [(node.lineno, node.module), *((node.lineno, f"{node.module}.{item.name}") for item in node.names)]
        elif isinstance(node, ast.Import):
            names += [(node.lineno, item.name) for item in node.names]
    return names


def is_test_module(name: str) -> bool:
    """Tell whether a dotted name is a file that pytest collects or loads by itself."""
    stem = name.rpartition(".")[2]
    path = repository.ROOT / f"{name.replace('.', '/')}.py"
    return name.startswith("tests.") and (stem.startswith("test_") or stem == "conftest") and path.is_file()


def test_nothing_is_imported_from_a_test_module():
    paths = [path for path in repository.files() if path.suffix == ".py"]
    assert [
        f"{repository.named(path)}:{line}: {name}"
        for path in paths
        for line, name in imported(path)
        if is_test_module(name)
    ] == []
