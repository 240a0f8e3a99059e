"""A process that needs more memory than its limit gets an error of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

USE = """
import sys
from wellspring.runtime.process_memory import limit_memory

limit_memory(int(sys.argv[1]))
try:
    bytearray(1 << 30)
except MemoryError:
    print("no memory")
else:
    print("memory")
"""


@pytest.mark.parametrize(("limit", "printed"), [(512 << 20, "no memory"), (0, "memory")])
def test_limit_applies_to_this_process_and_0_is_none(limit: int, printed: str) -> None:
    ended = subprocess.run([sys.executable, "-c", USE, str(limit)], capture_output=True, check=True, timeout=60)
    assert ended.stdout.decode().strip() == printed
