"""The files of the repository for the architecture tests; each source file is parsed once."""

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
SKIPPED = {".venv", ".venv-bench", ".uv", ".git", ".demo", "__pycache__", ".wellspring", "node_modules"}


@functools.cache
def files() -> tuple[Path, ...]:
    """List the files that git tracks or would track; without git, all but environments and caches."""
    if (ROOT / ".git").exists():
        result = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        if result.returncode == 0:
            names = sorted(set(result.stdout.decode().split("\0")) - {""})
            return tuple(path for name in names if (path := ROOT / name).is_file())
    every = (path for path in sorted(ROOT.rglob("*")) if not SKIPPED & set(path.relative_to(ROOT).parts))
    return tuple(path for path in every if path.is_file())


def named(path: Path) -> str:
    """Return a file's path for a message: relative to the repository, with slashes."""
    return path.relative_to(ROOT).as_posix()


def sources(package: str = "") -> list[Path]:
    """List the Python files under src/, or under one package of it."""
    return sorted(path for path in (SRC / package).rglob("*.py"))


@functools.cache
def tree(path: Path) -> ast.Module:
    """Parse one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def called(call: ast.Call) -> str:
    """Write what is called, dotted as it stands: `time.sleep`, `self._journal.append`; '' if it has no name."""
    parts: list[str] = []
    node: ast.expr = call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    elif not parts:
        return ""
    return ".".join(reversed(parts))


def calls(path: Path) -> list[tuple[int, str, ast.Call]]:
    """List every call in a file: its line, what is called, and the call."""
    return [(node.lineno, called(node), node) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
