"""Crash points kill the process at the named place, and nowhere else."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from wellspring.runtime.crash_point import reach_crash_point

SCRIPT = "from wellspring.runtime.crash_point import reach_crash_point as reach; reach('a:b', '{}'); print('on')"


def test_a_point_that_no_test_named_does_nothing():
    reach_crash_point(None, "a:b")
    reach_crash_point("a:c", "a:b")


@pytest.mark.parametrize(("point", "code", "out"), [("a:b", -signal.SIGKILL, b""), ("a:c", 0, b"on\n")])
def test_only_the_named_point_kills_the_process(point: str, code: int, out: bytes):
    ran = subprocess.run([sys.executable, "-c", SCRIPT.format(point)], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (code, out)
