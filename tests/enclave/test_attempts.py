"""Attempts that end with the process are counted; others are not. A fault of a library needs no second attempt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wellspring.enclave.attempts import MAX_ENDED_ATTEMPTS, AttemptCounter

ATTEMPT = """
import sys, threading
from pathlib import Path
import polars as pl
from wellspring.enclave.attempts import AttemptCounter
from wellspring.runtime.process_memory import limit_memory

limit_memory(1 << 30)

def use_too_much():
    with AttemptCounter(Path(sys.argv[1])).count_attempt("d1"):
        pl.Series(range(1000)).sample(400_000_000, with_replacement=True)

# As in the enclave, which reads a drop in the thread of a connection.
thread = threading.Thread(target=use_too_much)
thread.start()
thread.join()
"""


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


def test_attempt_that_gets_no_memory_is_counted(tmp_path: Path) -> None:
    counter = AttemptCounter(tmp_path / "attempts")
    for count in (1, 2):
        with pytest.raises(MemoryError), counter.count_attempt("d1"):
            raise MemoryError
        assert counter.read_count("d1") == count


@pytest.mark.slow
def test_attempt_in_which_a_library_aborts_without_memory_is_the_last_one(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ATTEMPT, str(tmp_path / "attempts")], capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == -signal.SIGABRT
    counter = AttemptCounter(tmp_path / "attempts")
    assert counter.read_count("d1") == MAX_ENDED_ATTEMPTS
    assert (tmp_path / "attempts" / "d1").stat().st_mode & 0o777 == 0o600
