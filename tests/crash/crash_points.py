"""Finds all crash points in the source code, so a new one needs no registration."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

SRC = Path(__file__).resolve().parents[2] / "src"
SHAPE = re.compile(r"^[a-z_.]+:[a-z_-]+$")


class Point(NamedTuple):
    """One `crash_point("lake.publish:act")`. file: relative to src/."""

    name: str
    file: str
    line: int


def find_in_source(source: str, file: str) -> tuple[list[Point], list[int]]:
    """Find the crash points of one file, and the lines of calls whose name is not a string literal.

    A call that passes on a parameter of its own function (observe/recorder.py) is not a crash point.
    """
    points: list[Point] = []
    hidden: list[int] = []

    def visit(node: ast.AST, parameters: frozenset[str]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            all_arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            parameters = frozenset(argument.arg for argument in all_arguments)
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name.lstrip("_") == "crash_point":
                match node.args:
                    case [ast.Constant(value=str(text))]:
                        points.append(Point(text, file, node.lineno))
                    case [ast.Name(id=argument)] if argument in parameters:
                        pass
                    case _:
                        hidden.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, parameters)

    visit(ast.parse(source), frozenset())
    return points, hidden


def list_crash_points() -> list[Point]:
    """List every crash point of src/ in the order of file and line."""
    points: list[Point] = []
    for path in sorted(SRC.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        # To parse all sources takes seconds, and few of them have one.
        if "crash_point" in source:
            points += find_in_source(source, path.relative_to(SRC).as_posix())[0]
    return points


def crash_point_names() -> list[str]:
    """List the name of every crash point, sorted. A process with WELLSPRING_CRASH_AT=NAME kills itself there."""
    return sorted({point.name for point in list_crash_points()})


def find_computed_names() -> list[str]:
    """List the calls (file:line) whose crash point name is computed and so cannot be read from the source."""
    places: list[str] = []
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        places += [f"{name}:{line}" for line in find_in_source(path.read_text(encoding="utf-8"), name)[1]]
    return places
