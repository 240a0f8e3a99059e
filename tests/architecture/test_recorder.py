"""Facts are recorded by `observe/recorder.py` alone; no file swallows unknown errors, sleeps, or is too long."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import repository

RECORDING_MODULES = {"wellspring/observe/recorder.py", "wellspring/observe/metrics.py", "wellspring/observe/lineage.py"}
JOURNAL_WRITERS = {"wellspring/observe/recorder.py", "wellspring/trust/ledger/journal.py"}


def is_metric(name: str, call: ast.Call) -> bool:
    """Tell whether a call creates a metric: Counter("name", "help"); collections.Counter takes one argument."""
    makes = name.rpartition(".")[2] in {"Counter", "Gauge", "Histogram", "Summary"}
    return makes and (len(call.args) > 1 or bool(call.keywords))


def is_event(name: str, call: ast.Call) -> bool:
    """Tell whether a call sends a lineage event."""
    return name.endswith(".emit")


def is_ledger_line(name: str, call: ast.Call) -> bool:
    """Tell whether a call appends to a journal or a ledger: by the object, or by its keywords (`actor=`, `**words`)."""
    owner, _, method = name.rpartition(".")
    named = "journal" in owner.lower() or "ledger" in owner.lower()
    has_actor = bool({word.arg for word in call.keywords} & {"actor", None})
    return method in {"append", "append_entry"} and (named or has_actor)


def find_breaches(rule: Callable[[str, ast.Call], bool], allowed: set[str]) -> list[str]:
    """List the places outside the allowed files that break a rule."""
    places: list[str] = []
    for path in repository.sources("wellspring"):
        if path.relative_to(repository.SRC).as_posix() in allowed:
            continue
        places += [
            f"{repository.named(path)}:{line}" for line, name, call in repository.calls(path) if rule(name, call)
        ]
    return places


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [(is_metric, RECORDING_MODULES), (is_event, RECORDING_MODULES), (is_ledger_line, JOURNAL_WRITERS)],
)
def test_only_the_recorder_writes_facts(rule: Callable[[str, ast.Call], bool], allowed: set[str]):
    assert find_breaches(rule, allowed) == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (is_metric, "Counter('drops', 'how many')"),
        (is_metric, "prometheus_client.Gauge('age', 'seconds')"),
        (is_event, "client.emit(event)"),
        (is_ledger_line, "journal.append_entry(actor=actor)"),
        (is_ledger_line, "self._journal.append(entry)"),
        (is_ledger_line, "lines.append(actor='a', action='b')"),
        (is_ledger_line, "lines.append(**words)"),
    ],
)
def test_a_second_writer_would_be_detected(rule: Callable[[str, ast.Call], bool], code: str):
    (call,) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert rule(repository.called(call), call)


def test_only_observe_imports_the_metric_and_lineage_libraries():
    unknown_users: list[str] = []
    for path in repository.sources("wellspring"):
        if path.relative_to(repository.SRC).as_posix() in RECORDING_MODULES:
            continue
        for node in ast.walk(repository.tree(path)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if {name.partition(".")[0] for name in names} & {"prometheus_client", "openlineage"}:
                unknown_users.append(f"{repository.named(path)}:{node.lineno}")
    assert unknown_users == []


def caught_types(handler: ast.ExceptHandler) -> set[str]:
    """Return the names of the types that a handler catches."""
    if handler.type is None:
        return {"everything"}
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {kind.id for kind in kinds if isinstance(kind, ast.Name)}


def broad_handlers(path: Path) -> list[int]:
    """List the lines where a file catches everything and does not raise it again."""
    lines: list[int] = []
    for node in ast.walk(repository.tree(path)):
        if isinstance(node, ast.ExceptHandler) and caught_types(node) & {"everything", "Exception", "BaseException"}:
            raised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if not raised:
                lines.append(node.lineno)
    return lines


def test_no_file_swallows_unknown_errors():
    assert [f"{repository.named(path)}:{line}" for path in repository.sources() for line in broad_handlers(path)] == []


def test_no_file_sleeps():
    sleepers = [
        f"{repository.named(path)}:{line}"
        for path in repository.sources()
        for line, name, _ in repository.calls(path)
        if name in {"time.sleep", "sleep"}
    ]
    assert sleepers == []


def test_no_source_file_is_longer_than_400_lines():
    long = {
        repository.named(path): n for path in repository.sources() if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
