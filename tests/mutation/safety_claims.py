"""Write docs/safety-claims.md from the patches."""

from collections.abc import Sequence
from itertools import groupby

from tests.mutation.patch import ROOT, Patch

PAGE = ROOT / "docs/safety-claims.md"
HEAD = """# Safety claims

{count} promises, each with the test that holds it and the patch that shows that the test notices. A patch is one change
of one source file that breaks the promise: ruff, pyright and the import contracts do not report it, and the test fails.
`make mutation` applies each patch in a copy of the repository and runs its test; `make mutation ARGS="SLUG ..."` runs
some of them.

This page is written by `python -m tests.mutation --write-docs` from `tests/mutation/patches/`.
"""


def render(patches: Sequence[Patch]) -> str:
    """Write the page: one table for each package."""
    parts = [HEAD.format(count=len(patches))]
    for package, group in groupby(patches, key=lambda patch: patch.package):
        rows = [
            f"| {patch.promise} | `{patch.test}` | [{patch.slug}](../{patch_path(patch)}) |"
            for patch in sorted(group, key=lambda patch: patch.slug)
        ]
        parts.append("\n".join([f"## {package}", "", "| promise | test | patch |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def patch_path(patch: Patch) -> str:
    """Return the patch's file, relative to the repository."""
    return f"tests/mutation/patches/{patch.package}/{patch.slug}.toml"
