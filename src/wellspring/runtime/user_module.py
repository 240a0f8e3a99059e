"""Run a Python file of the project (feature definitions, a model) and report its errors with file and line."""

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
    """Run a file as a module that no other code can import, and remove it from sys.modules afterwards.

    Two projects in one process may have files of the same name. Raises ProjectError with file and line for any
    exception of the file.
    """
    loader = _UncachedLoader(f"wellspring_project_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}", str(path))
    module = module_from_spec(ModuleSpec(loader.name, loader, origin=str(path)))
    # dataclasses and typing look up the module of a class in sys.modules while it runs.
    sys.modules[loader.name] = module
    try:
        with _UserErrorContext(path):
            loader.exec_module(module)
    finally:
        sys.modules.pop(loader.name, None)
    return module


class _UncachedLoader(SourceFileLoader):
    """Load the current source, and write no bytecode to the project folder."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _UserErrorContext:
    """Convert an exception of the file to one ProjectError with its line, without a traceback."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, exc_traceback: TracebackType | None
    ) -> None:
        # SystemExit and KeyboardInterrupt are not errors of the file.
        if isinstance(exc, Exception):
            raise ProjectError(_describe_error(self._path, exc), fix=f"edit {self._path}") from None


def _describe_error(path: Path, exc: Exception) -> str:
    """Describe an exception of the file, with its line."""
    line_numbers = [frame.lineno for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == str(path)]
    line = exc.lineno if isinstance(exc, SyntaxError) and exc.filename == str(path) else (line_numbers or [None])[-1]
    location = f"{path}:{line}" if line else str(path)
    if isinstance(exc, ValidationError):
        problems = exc.errors(include_url=False, include_input=False)
        return "\n".join(
            f"{location}: {exc.title}.{'.'.join(str(part) for part in problem['loc']) or '(all)'}: {problem['msg']}"
            for problem in problems
        )
    message = (exc.msg if isinstance(exc, SyntaxError) else str(exc)).strip()
    return f"{location}: {type(exc).__name__}: {message.splitlines()[0] if message else 'no message'}"
