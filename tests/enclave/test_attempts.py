"""Attempts that end with the process are counted; others are not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from wellspring.enclave.attempts import AttemptCounter


def end_in_attempt(counter: AttemptCounter) -> None:
    """Run an attempt in a child that is killed within it, as by the kernel when memory runs out."""
    child = os.fork()
    if not child:
        with counter.count_attempt("d1"):
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_killed_attempts_are_counted_until_one_comes_to_its_end(tmp_path: Path) -> None:
    counter = AttemptCounter(tmp_path / "attempts")
    assert counter.read_count("d1") == 0
    for count in (1, 2):
        end_in_attempt(counter)
        assert AttemptCounter(tmp_path / "attempts").read_count("d1") == count
    assert counter.read_count("d2") == 0
    with counter.count_attempt("d1") as ended:
        assert ended == 2
    assert counter.read_count("d1") == 0


def test_attempt_that_raises_is_not_counted(tmp_path: Path) -> None:
    counter = AttemptCounter(tmp_path / "attempts")
    with pytest.raises(ValueError, match="x"), counter.count_attempt("d1"):
        raise ValueError("x")
    assert counter.read_count("d1") == 0
