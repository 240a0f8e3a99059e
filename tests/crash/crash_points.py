"""The names of all crash points, read from the code: a new one is found by being written."""

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


def matches(source: str, file: str) -> tuple[list[Point], list[int]]:
    """Find the crash points of one file, and the lines of those whose name is not written out.

    A function that takes the name from its own parameter and hands it on (observe/step.py does) is no crash point.
    """
    points: list[Point] = []
    hidden: list[int] = []

    def collected(node: ast.AST, parameters: frozenset[str]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            parameters = frozenset(item.arg for item in every)
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name.lstrip("_") == "crash_point":
                match node.args:
                    case [ast.Constant(value=str(text))]:
                        points.append(Point(text, file, node.lineno))
                    case [ast.Name(id=passed)] if passed in parameters:
                        pass
                    case _:
                        hidden.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            collected(child, parameters)

    collected(ast.parse(source), frozenset())
    return points, hidden


def every() -> list[Point]:
    """List every crash point of the house, in the order of file and line."""
    listed: list[Point] = []
    for path in sorted(SRC.rglob("*.py")):
        listed += matches(path.read_text(encoding="utf-8"), path.relative_to(SRC).as_posix())[0]
    return listed


def points() -> list[str]:
    """List the name of every crash point, sorted: set WELLSPRING_CRASH_AT to one, and the process dies there."""
    return sorted({point.name for point in every()})


def hidden() -> list[str]:
    """List the places where a crash point's name is computed, and so cannot be found from the code."""
    places: list[str] = []
    for path in sorted(SRC.rglob("*.py")):
        name = path.relative_to(SRC).as_posix()
        places += [f"{name}:{line}" for line in matches(path.read_text(encoding="utf-8"), name)[1]]
    return places
