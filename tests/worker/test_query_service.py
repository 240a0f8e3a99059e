"""Queries that the worker answers: each in a child of the warm server, with its own credential."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.builders.jobs import ScriptedWarmServer
from wellspring.errors import NotFound, Refused, WellspringError
from wellspring.runtime.process import Credential
from wellspring.worker.query_service import QueryService

ECHO = "emit(event='result', value=[assignment['subject'], assignment['credential']['wrapped']])"


def open_queries(code: str) -> tuple[QueryService, ScriptedWarmServer]:
    warm: Any = ScriptedWarmServer({"": code})
    numbers = iter(range(100))
    service = QueryService(
        find_warm_server=lambda: warm, request_credential=lambda: Credential("r", f"w-{next(numbers)}")
    )
    return service, warm


def test_each_query_has_a_child_and_a_credential_of_its_own():
    service, warm = open_queries(ECHO)
    answers = [service.answer_query("history", subject, {}) for subject in ("denials", "fraud")]
    assert answers == [["denials", "w-0"], ["fraud", "w-1"]]
    assert len(set(warm.started)) == 2


def test_an_error_of_a_query_is_raised():
    service, _ = open_queries("emit(event='error', slug='refused', what='it', fix='that', verdict=None); sys.exit(77)")
    with pytest.raises(Refused, match="it"):
        service.answer_query("history", "denials", {})


def test_an_unknown_query_starts_nothing():
    service, warm = open_queries(ECHO)
    with pytest.raises(NotFound, match="no query 'histroy'") as caught:
        service.answer_query("histroy", "denials", {})
    assert "history" in caught.value.fix
    assert warm.started == []


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("raise ValueError('Jane Doe')", "exit 1"),
        ("sys.exit(0)", "exit 0"),
        ('print(\'{"event": "res\', file=events)', "exit 0"),
    ],
)
def test_an_unexpected_end_is_reported_without_its_text(code: str, ending: str):
    service, _ = open_queries(code)
    with pytest.raises(WellspringError, match=f"ended unexpectedly \\({ending}\\)") as caught:
        service.answer_query("history", "denials", {})
    assert "Jane" not in caught.value.what


def test_a_query_whose_server_is_killed_says_so():
    service, warm = open_queries("threading.Event().wait()")
    thread = threading.Thread(target=end_when_started, args=(warm,))
    thread.start()
    with pytest.raises(WellspringError, match="its server was stopped"):
        service.answer_query("history", "denials", {})
    thread.join()


def end_when_started(warm: ScriptedWarmServer) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if warm.started:
            warm.end()
            return
        pause.wait(0.01)
    raise AssertionError("no query was started")
