"""A lake in the folder of a test, with a fixed clock and a recorder that keeps its entries in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import lakes
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.lake.lake import Lake


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def step() -> RecordingStep:
    return RecordingStep()


@pytest.fixture
def lake(tmp_path: Path, clock: FixedClock) -> Iterator[Lake]:
    lake = lakes.open_lake(tmp_path, clock=clock)
    yield lake
    lake.close()
