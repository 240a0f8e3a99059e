"""Find a pattern in a Python file by its syntax tree, and replace its source text.

A pattern is Python source: one expression, or consecutive statements of one block. Two pieces of source match when
their syntax trees are equal without positions, so formatting and comments do not matter.
"""

import ast
import io
import textwrap
import tokenize
from collections.abc import Iterator

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# One expression, or consecutive statements of one block.
Place = ast.expr | list[ast.stmt]


class PatternError(ValueError):
    """A pattern or a replacement that cannot be used; the text says why."""


def apply_replacement(source: str, function: str, pattern: str, replacement: str) -> str:
    """Replace a pattern that occurs exactly once in a function, and return the whole source.

    function: qualified name within the module (`Class.method`, `outer.inner`); '' is the whole module.
    replacement: '' removes the statements of the pattern.
    Raises PatternError when the pattern does not occur exactly once or the replacement does not fit in its place.
    """
    tree = ast.parse(source)
    places = find_places(find_scope(tree, function), pattern, replacement)
    if len(places) != 1:
        raise PatternError(f"the pattern occurs {len(places)} times in {function or 'the module'}")
    changed = _replace(source, tree, places[0], replacement)
    if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
        raise PatternError("the replacement changes nothing")
    return changed


def find_scope(tree: ast.Module, function: str) -> Scope:
    """Find a function or class by its qualified name; of several definitions of one name, the last."""
    scope: Scope = tree
    for name in function.split(".") if function else []:
        matching = [node for node in _definitions(scope) if node.name == name]
        if not matching:
            raise PatternError(f"no function or class {function}")
        scope = matching[-1]
    return scope


def find_places(scope: Scope, pattern: str, replacement: str) -> list[Place]:
    """List the places in a scope where the pattern occurs.

    An expression is matched anywhere when its replacement is an expression too, and as a statement otherwise.
    """
    target, substitute = parse_fragment(pattern), parse_fragment(replacement)
    if not target:
        raise PatternError("the pattern is empty")
    if isinstance(target, ast.expr) and isinstance(substitute, ast.expr):
        return [*_matching_expressions(scope, target)]
    return [*_matching_statements(scope, _statements(target))]


def parse_fragment(source: str) -> Place:
    """Parse source as one expression if it is one, and as a list of statements otherwise."""
    try:
        body = ast.parse(clean(source)).body
    except SyntaxError as exc:
        raise PatternError(f"is not Python: {exc}") from None
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else body


def clean(source: str) -> str:
    """Remove common indentation and surrounding blank lines."""
    return textwrap.dedent(source).strip()


def _statements(place: Place) -> list[ast.stmt]:
    return [ast.Expr(place)] if isinstance(place, ast.expr) else place


def _definitions(scope: Scope) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """List the functions and classes that are defined in a scope, without those inside another definition."""
    pending: list[ast.AST] = [*ast.iter_child_nodes(scope)]
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
        else:
            pending = [*ast.iter_child_nodes(node), *pending]


def _matching_expressions(scope: Scope, target: ast.expr) -> Iterator[ast.expr]:
    dump = ast.dump(target)
    for node in ast.walk(scope):
        if isinstance(node, type(target)) and ast.dump(node) == dump:
            yield node


def _matching_statements(scope: Scope, target: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    dumps = [ast.dump(node) for node in target]
    for block in _blocks(scope):
        for start in range(len(block) - len(target) + 1):
            run = block[start : start + len(target)]
            if [ast.dump(node) for node in run] == dumps:
                yield run


def _blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _replace(source: str, tree: ast.Module, place: Place, replacement: str) -> str:
    """Replace the text of a place, and check that only this place of the tree has changed."""
    text = clean(replacement)
    if not text and isinstance(place, list) and any(_fills(block, place) for block in _blocks(tree)):
        text = "pass"
    _replace_nodes(tree, place, parse_fragment(text))
    expected = ast.dump(tree)
    # An expression may need parentheses in its new place.
    for candidate in (text, f"({text})"):
        changed = _splice(source, place, candidate)
        try:
            if ast.dump(ast.parse(changed)) == expected:
                return changed
        except SyntaxError:
            continue
    raise PatternError("the replacement does not fit in its place")


def _fills(block: list[ast.stmt], place: list[ast.stmt]) -> bool:
    """Tell whether a block consists of exactly these statements."""
    return len(block) == len(place) and block[0] is place[0]


def _replace_nodes(tree: ast.Module, place: Place, substitute: Place) -> None:
    """Replace a place in the tree itself."""
    if isinstance(place, list):
        for block in _blocks(tree):
            for index, node in enumerate(block):
                if node is place[0]:
                    block[index : index + len(place)] = _statements(substitute)
                    return
    for node in [*ast.walk(tree)]:
        for name, value in ast.iter_fields(node):
            if value is place:
                setattr(node, name, substitute)
            elif isinstance(value, list):
                value[:] = [substitute if item is place else item for item in value]


def _splice(source: str, place: Place, text: str) -> str:
    """Replace the text of a place, indented to its column; without text, remove its lines."""
    first, last = (place[0], place[-1]) if isinstance(place, list) else (place, place)
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    line = min([first.lineno, *(node.lineno for node in getattr(first, "decorator_list", []))])
    lines = source.encode().splitlines(keepends=True)
    # Columns of the syntax tree count UTF-8 bytes.
    before = b"".join(lines[: line - 1]) + lines[line - 1][: first.col_offset]
    after = lines[last.end_lineno - 1][last.end_col_offset :] + b"".join(lines[last.end_lineno :])
    if not text:
        return (before.rstrip(b" \t") + after.removeprefix(b"\n")).decode()
    return before.decode() + _indent(text, first.col_offset) + after.decode()


def _indent(text: str, column: int) -> str:
    """Indent all lines but the first, except those that continue a string literal."""
    continued: set[int] = {1}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING:
            continued |= {*range(token.start[0] + 1, token.end[0] + 1)}
    return "\n".join(
        line if number in continued or not line.strip() else " " * column + line
        for number, line in enumerate(text.splitlines(), start=1)
    )
