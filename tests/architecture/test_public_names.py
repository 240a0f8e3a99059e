"""The names of `wellspring.stable`: they are listed with their signatures, documented, and light to import."""

import ast

import pytest

from tests.architecture import repository
from tests.architecture.stable_names import LISTING, STABLE, imported_names, render_listing
from wellspring import stable

PUBLIC_IMPORTERS = [
    path
    for path in repository.files()
    if path.suffix == ".py" and repository.named(path).startswith(("examples/", "tests/plugins/"))
    if not path.name.startswith("test_")
]
"""Files that stand for code of a project or of another author: they import public names only."""


def imported_modules(text: str) -> set[str]:
    """List the modules of wellspring that a text of Python imports."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules |= {item.name for item in node.names}
    return {module for module in modules if module.partition(".")[0] == "wellspring"}


def test_a_change_of_a_public_name_changes_the_committed_listing():
    fix = "run `python -m tests.architecture.stable_names`, and describe the change in CHANGELOG.md"
    assert LISTING.read_text(encoding="utf-8") == render_listing(), fix


def test_each_public_name_exists():
    assert sorted(imported_names(STABLE)) == sorted(stable.__all__)
    assert [name for name in stable.__all__ if not hasattr(stable, name)] == []


def test_each_public_class_and_function_has_a_docstring():
    silent = [
        name
        for name in stable.__all__
        if callable(value := getattr(stable, name))
        and getattr(value, "__module__", "").startswith("wellspring")
        and not (value.__doc__ or "").strip()
    ]
    assert silent == []


def test_the_package_itself_has_no_other_public_names():
    assert repository.tree(repository.SRC / "wellspring/__init__.py").body[1:] == []


@pytest.mark.parametrize("path", PUBLIC_IMPORTERS, ids=repository.named)
def test_examples_and_plugins_import_public_names_only(path):
    assert imported_modules(path.read_text(encoding="utf-8")) <= {"wellspring.stable"}


@pytest.mark.parametrize("name", ["model/model.py.tmpl", "project/tests/test_project.py.tmpl"])
def test_templates_import_public_names_only(name: str):
    text = (repository.SRC / "wellspring/templates" / name).read_text(encoding="utf-8")
    modules = {line.split()[1] for line in text.splitlines() if line.startswith("from wellspring")}
    assert modules == {"wellspring.stable"}
