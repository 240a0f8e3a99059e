"""The `new` command group, and what its commands share: templates, and files that are only ever created."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

import click

from wellspring.cli.context import LazyGroup
from wellspring.errors import Refused

TEMPLATES = Path(__file__).parents[1] / "templates"
TEMPLATE_SUFFIX = ".tmpl"
"""The suffix of a template, so that no tool takes it for a module, a policy or SQL of this package."""


@click.group(cls=LazyGroup)
def new() -> None:
    """Create a project, a contract inferred from a file, or a model of a table."""


new.register_lazy(
    {
        "project": "wellspring.cli.new_project:create_project",
        "contract": "wellspring.cli.new_contract:create_contract",
        "model": "wellspring.cli.new_model:create_model",
    }
)


def fill_template(path: Path, values: Mapping[str, str]) -> str:
    """Return the text of a template with its placeholders filled in."""
    return Template(path.read_text(encoding="utf-8")).substitute(values)


def write_new_files(files: Mapping[Path, str]) -> None:
    """Create files, all or none. Raises Refused before the first write if one of them exists."""
    if existing_files := [str(path) for path in files if path.exists()]:
        raise Refused(f"already exists: {', '.join(existing_files)}", fix="move it away, or choose another name")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
