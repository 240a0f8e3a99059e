"""A user of the demo takes a new code for each login, and waits until the server accepts it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wellspring.cli import demo_users
from wellspring.cli.demo_users import DemoUsers


def test_each_login_takes_the_next_code(monkeypatch: pytest.MonkeyPatch):
    now, waits = [3000.0], list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(demo_users, "time", SimpleNamespace(time=lambda: now[0]))
    monkeypatch.setattr(demo_users, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=wait)))
    project: Any = SimpleNamespace(root=Path("/nowhere"))
    users = DemoUsers(project, "a code")
    assert [users._take_step("ines") for _ in range(3)] == [99, 100, 101]
    # Those of another user are their own, and no code is used twice.
    assert users._take_step("omar") == 99
    assert waits == []
    assert users._take_step("ines") == 102
    assert waits == [30.0]
    now[0] += 300
    assert users._take_step("ines") == 110
