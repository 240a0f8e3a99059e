"""The verdict of the benchmark of jobs; its figures need a project with two releases, so they are not measured here."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import jobs


def test_a_missed_limit_is_the_exit_code(capsys: pytest.CaptureFixture[str]):
    figures: dict[str, Any] = {
        "start_s": {"p90": 0.4},
        "rollback_s": {"started": 0.02, "first answer of the former release": 0.6},
    }
    assert jobs.print_verdict(figures) == 0
    assert capsys.readouterr().out.startswith("met: a job starts 0.40 s after its command")
    figures["rollback_s"]["started"] = 30.0
    assert jobs.print_verdict(figures) == 1
    assert capsys.readouterr().out.startswith("missed")
