"""Static checks of patched sources: a patch that ruff, pyright or an import contract finds needs no test.

The tools start slowly, so they check many patches at once, and search for the one that they find by halving.
"""

import re
from collections.abc import Callable, Sequence

from tests.mutation.patch import Patch
from tests.mutation.repository_copy import Completed, RepositoryCopy
from tests.mutation.syntax import PatternError

LINT_IMPORTS = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports_command())"
LIMIT = 600
Tool = Callable[[RepositoryCopy, Sequence[str]], Completed]


def run_ruff(copy: RepositoryCopy, files: Sequence[str]) -> Completed:
    """Format the files, so that the layout of a replacement does not matter, and check them."""
    copy.run_python("-m", "ruff", "format", "--quiet", "--no-cache", *files, timeout=LIMIT)
    return copy.run_python("-m", "ruff", "check", "--no-cache", "--output-format=concise", *files, timeout=LIMIT)


def run_pyright(copy: RepositoryCopy, files: Sequence[str]) -> Completed:
    """Check the types of the files."""
    return copy.run_python("-m", "pyright", "--pythonpath", str(copy.python), *files, timeout=LIMIT)


def run_import_linter(copy: RepositoryCopy, files: Sequence[str]) -> Completed:
    """Check the import contracts of the whole copy."""
    return copy.run_python("-c", LINT_IMPORTS, timeout=LIMIT)


TOOLS: dict[str, Tool] = {"ruff": run_ruff, "pyright": run_pyright, "import contracts": run_import_linter}


def find_static_problems(copy: RepositoryCopy, patches: Sequence[Patch]) -> dict[str, str]:
    """Return what the tools report, by slug of the patch; '' as slug when the sources fail without any patch."""
    problems: dict[str, str] = {}
    patches = [patch for patch in patches if patch.file.endswith(".py")]
    for name, tool in TOOLS.items():
        pending = compatible_batches(copy, patches)
        checked_unpatched = False
        while pending:
            batch = pending.pop()
            files = sorted({patch.file for patch in batch})
            with copy.patched(batch):
                completed = tool(copy, files)
            if completed.code == 0:
                continue
            if len(batch) == 1:
                problems.setdefault(batch[0].slug, f"{name}: {first_line(completed.output)}")
                continue
            if not checked_unpatched:
                checked_unpatched = True
                unpatched = tool(copy, files)
                if unpatched.code != 0:
                    problems[""] = f"{name} fails without a patch: {first_line(unpatched.output)}"
                    break
            # Most output names files; a patch of another file is not the cause.
            suspects = [patch for patch in batch if patch.file in completed.output] or batch
            if len(suspects) == len(batch):
                middle = len(batch) // 2
                pending += [batch[:middle], batch[middle:]]
            else:
                pending.append(suspects)
    return problems


def compatible_batches(copy: RepositoryCopy, patches: Sequence[Patch]) -> list[list[Patch]]:
    """Split patches into batches of which all can be applied together."""
    batches: list[list[Patch]] = []
    for patch in patches:
        for batch in batches:
            try:
                with copy.patched([member for member in batch if member.file == patch.file] + [patch]):
                    batch.append(patch)
                    break
            except PatternError:
                continue
        else:
            batches.append([patch])
    return batches


def first_line(output: str) -> str:
    """Return the first line that names an error, else the first line, at most 160 characters."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|failed|broken|[A-Z]+[0-9]{3} ", line, re.IGNORECASE)]
    return (errors or lines or ["no output"])[0][:160]
