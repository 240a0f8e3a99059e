"""Runs one of the project's own Python files: feature definitions, a model; what it raises is told by its line."""

from __future__ import annotations

import hashlib
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from pydantic import ValidationError

from wellspring.errors import ProjectError


def run_user_module(path: Path) -> ModuleType:
    """Run a file as a module that nothing else can import, and that is forgotten afterwards.

    Two projects in one process may each have a file of the same name. Raises ProjectError with file and line for
    whatever the file raises.
    """
    loader = _UncachedLoader(f"wellspring_project_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}", str(path))
    module = module_from_spec(ModuleSpec(loader.name, loader, origin=str(path)))
    # While it runs it is known by its name: dataclasses and typing look a class's module up.
    sys.modules[loader.name] = module
    try:
        with _UserErrorContext(path):
            loader.exec_module(module)
    finally:
        sys.modules.pop(loader.name, None)
    return module


class _UncachedLoader(SourceFileLoader):
    """Reads a file as it stands, and leaves no bytecode in the project's folder."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _UserErrorContext:
    """Turns whatever somebody's file raises into one ProjectError with its line, and no traceback."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, exc_traceback: TracebackType | None
    ) -> None:
        # SystemExit and KeyboardInterrupt are no mistake of the file's.
        if isinstance(exc, Exception):
            raise ProjectError(_describe_error(self._path, exc), fix=f"edit {self._path}") from None


def _describe_error(path: Path, exc: Exception) -> str:
    """Say what is wrong in somebody's file, and on which line of it."""
    line_numbers = [item.lineno for item in traceback.extract_tb(exc.__traceback__) if item.filename == str(path)]
    line = exc.lineno if isinstance(exc, SyntaxError) and exc.filename == str(path) else (line_numbers or [None])[-1]
    location = f"{path}:{line}" if line else str(path)
    if isinstance(exc, ValidationError):
        problems = exc.errors(include_url=False, include_input=False)
        return "\n".join(
            f"{location}: {exc.title}.{'.'.join(str(part) for part in problem['loc']) or '(all)'}: {problem['msg']}"
            for problem in problems
        )
    message = (exc.msg if isinstance(exc, SyntaxError) else str(exc)).strip()
    return f"{location}: {type(exc).__name__}: {message.splitlines()[0] if message else 'it says no more'}"
