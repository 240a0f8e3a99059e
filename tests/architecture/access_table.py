"""Write the table of docs/servers.md of who may read what, from `wellspring.embedded.path_access`.

`python -m tests.architecture.access_table` writes it again.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.architecture import repository
from wellspring.embedded.path_access import OWNER, SCRATCH, PathAccess, list_paths
from wellspring.project import load_project
from wellspring.runtime.service_users import SERVICE_SLOTS

PAGE = repository.ROOT / "docs/servers.md"
START, END = "<!-- access table: python -m tests.architecture.access_table -->", "<!-- end of the access table -->"
FOLDERS_OF_SERVICES = ("journals", "metrics", "lineage", "tmp")
"""Folders with a folder for each service or journal, which is one line of the table."""


def merge_rows(rows: list[PathAccess]) -> Iterator[tuple[str, PathAccess, bool]]:
    """Yield each path of the table with its row; one for all folders of services that have the same parent."""
    merged: set[Path] = set()
    for row in rows:
        is_merged = row.path.parent.name in FOLDERS_OF_SERVICES and row.mode != SCRATCH
        if not is_merged:
            yield f"{row.path}{'' if row.is_file else '/'}", row, False
        elif row.user != OWNER and row.path.parent not in merged:
            merged.add(row.path.parent)
            yield f"{row.path.parent}/NAME/", row, True


def list_names(names: frozenset[str], user: str) -> str:
    """Name users in the order of their uids, without the one that owns the path."""
    names_besides = [name for name in SERVICE_SLOTS if name in names and name != user]
    return "every service" if len(names_besides) == len(SERVICE_SLOTS) else ", ".join(names_besides) or "nobody"


def render_table() -> str:
    """Render the table for the reference project."""
    lines = ["| path | mode | writes | also reads | also enters | content |", "|---|---|---|---|---|---|"]
    for path, row, is_merged in merge_rows(list_paths(load_project(repository.ROOT / "examples/health_plan"))):
        user = "its service" if is_merged else row.user
        user = ", ".join((user, *sorted(row.writers - {row.user})))
        readers = list_names(row.readers - row.writers, row.user)
        passers = list_names(row.passers - row.readers, row.user)
        content = row.content.replace(row.path.name, "NAME") if is_merged else row.content
        lines.append(f"| `{path}` | {row.mode:04o} | {user} | {readers} | {passers} | {content} |")
    return "\n".join(lines)


def replace_table(page: str) -> str:
    """Return the page with the table of today."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{render_table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(replace_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
