"""There is one door for facts, `observe/step.py`, and a few things that no file of the house does."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import repository

SOCKET_PATH = {"wellspring/observe/recorder.py", "wellspring/observe/metrics.py", "wellspring/observe/lineage.py"}
LEDGER = {"wellspring/observe/recorder.py", "wellspring/trust/ledger/journal.py"}


def metric(name: str, call: ast.Call) -> bool:
    """Find a metric that is made: Counter("name", "what it says"); collections.Counter takes one thing."""
    makes = name.rpartition(".")[2] in {"Counter", "Gauge", "Histogram", "Summary"}
    return makes and (len(call.args) > 1 or bool(call.keywords))


def event(name: str, call: ast.Call) -> bool:
    """Find a lineage event that is sent."""
    return name.endswith(".emit")


def line(name: str, call: ast.Call) -> bool:
    """Find a line appended to a journal or a ledger: by what it is appended to, or by its words (`**words`)."""
    owner, _, method = name.rpartition(".")
    named = "journal" in owner.lower() or "ledger" in owner.lower()
    return method == "append" and (named or bool({word.arg for word in call.keywords} & {"actor", None}))


def breaches(rule: Callable[[str, ast.Call], bool], allowed: set[str]) -> list[str]:
    """List the places outside the allowed files that break a rule."""
    places: list[str] = []
    for path in repository.sources("wellspring"):
        if path.relative_to(repository.SRC).as_posix() in allowed:
            continue
        places += [
            f"{repository.named(path)}:{instant}" for instant, name, call in repository.calls(path) if rule(name, call)
        ]
    return places


@pytest.mark.parametrize(("rule", "allowed"), [(metric, SOCKET_PATH), (event, SOCKET_PATH), (line, LEDGER)])
def test_facts_go_through_the_one_door(rule: Callable[[str, ast.Call], bool], allowed: set[str]):
    assert breaches(rule, allowed) == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (metric, "Counter('drops', 'how many')"),
        (metric, "prometheus_client.Gauge('age', 'seconds')"),
        (event, "client.emit(event)"),
        (line, "journal.append(actor=actor)"),
        (line, "self._journal.append(entry)"),
        (line, "lines.append(actor='a', action='b')"),
        (line, "lines.append(**words)"),
    ],
)
def test_a_second_door_would_be_seen(rule: Callable[[str, ast.Call], bool], code: str):
    (call,) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert rule(repository.called(call), call)


def test_the_libraries_of_metrics_and_lineage_are_known_in_one_room_only():
    unknown_users: list[str] = []
    for path in repository.sources("wellspring"):
        if path.relative_to(repository.SRC).as_posix() in SOCKET_PATH:
            continue
        for node in ast.walk(repository.tree(path)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if {name.partition(".")[0] for name in names} & {"prometheus_client", "openlineage"}:
                unknown_users.append(f"{repository.named(path)}:{node.lineno}")
    assert unknown_users == []


def caught(handler: ast.ExceptHandler) -> set[str]:
    """Name what a handler catches."""
    if handler.type is None:
        return {"everything"}
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {kind.id for kind in kinds if isinstance(kind, ast.Name)}


def blind(path: Path) -> list[int]:
    """List the lines where a file catches everything and does not raise it again."""
    lines: list[int] = []
    for node in ast.walk(repository.tree(path)):
        if isinstance(node, ast.ExceptHandler) and caught(node) & {"everything", "Exception", "BaseException"}:
            raised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if not raised:
                lines.append(node.lineno)
    return lines


def test_no_file_swallows_an_error_that_it_does_not_know():
    assert [f"{repository.named(path)}:{instant}" for path in repository.sources() for instant in blind(path)] == []


def test_no_file_sleeps():
    sleepers = [
        f"{repository.named(path)}:{instant}"
        for path in repository.sources()
        for instant, name, _ in repository.calls(path)
        if name in {"time.sleep", "sleep"}
    ]
    assert sleepers == []


def test_no_file_of_the_house_is_longer_than_a_sitting():
    long = {
        repository.named(path): n for path in repository.sources() if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
