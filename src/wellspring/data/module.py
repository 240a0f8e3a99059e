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


def run(path: Path) -> ModuleType:
    """Run a file as a module that nothing else can import, and that is forgotten afterwards.

    Two projects in one process may each have a file of the same name. Raises ProjectError with file and line for
    whatever the file raises.
    """
    loader = _Fresh(f"wellspring_project_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}", str(path))
    module = module_from_spec(ModuleSpec(loader.name, loader, origin=str(path)))
    # While it runs it is known by its name: dataclasses and typing look a class's module up.
    sys.modules[loader.name] = module
    try:
        with _Told(path):
            loader.exec_module(module)
    finally:
        sys.modules.pop(loader.name, None)
    return module


class _Fresh(SourceFileLoader):
    """Reads a file as it stands, and leaves no bytecode in the project's folder."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Told:
    """Turns whatever somebody's file raises into one ProjectError with its line, and no traceback."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trail: TracebackType | None
    ) -> None:
        # SystemExit and KeyboardInterrupt are no mistake of the file's.
        if isinstance(problem, Exception):
            raise ProjectError(_told(self._path, problem), fix=f"edit {self._path}") from None


def _told(path: Path, wrong: Exception) -> str:
    """Say what is wrong in somebody's file, and on which line of it."""
    lines = [each.lineno for each in traceback.extract_tb(wrong.__traceback__) if each.filename == str(path)]
    line = wrong.lineno if isinstance(wrong, SyntaxError) and wrong.filename == str(path) else (lines or [None])[-1]
    at = f"{path}:{line}" if line else str(path)
    if isinstance(wrong, ValidationError):
        problems = wrong.errors(include_url=False, include_input=False)
        return "\n".join(
            f"{at}: {wrong.title}.{'.'.join(str(part) for part in each['loc']) or '(all)'}: {each['msg']}"
            for each in problems
        )
    said = (wrong.msg if isinstance(wrong, SyntaxError) else str(wrong)).strip()
    return f"{at}: {type(wrong).__name__}: {said.splitlines()[0] if said else 'it says no more'}"
