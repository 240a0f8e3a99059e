"""Integrating many waiting lines takes bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.waiting_lines import integrate_in_process, write_waiting_lines

MAX_PEAK_BYTES = 300_000_000


@pytest.mark.slow
@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_waiting_lines_are_integrated_in_bounded_memory(tmp_path: Path, count: int):
    write_waiting_lines(tmp_path, count)
    cost = integrate_in_process(tmp_path)
    print(f"{count:,} lines: {cost}")
    assert cost.size == count
    assert cost.peak_bytes < MAX_PEAK_BYTES
