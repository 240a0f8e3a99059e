"""A sample of `make redteam`: attempts that need no servers, or the servers of one project without a model."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.builders.landlock import has_landlock
from tests.redteam.catalogue import Attempt, list_attempts
from tests.redteam.results import make_attempt
from tests.redteam.target import Target, open_target

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as other users"),
    pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock"),
]
SLOW = frozenset({"contracts", "floods"})
"""Kinds whose attempts ingest files, or wait."""


def choose_sample() -> list[Attempt]:
    """Take the attempts that are over at once when the servers run."""
    return [item for item in list_attempts() if item.needs in {"nothing", "servers"} and is_short(item)]


def is_short(item: Attempt) -> bool:
    return (
        item.kind not in SLOW and item.position != "vendor" and not item.awaited and not item.name.startswith("verify")
    )


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with open_target(days=20) as target:
        yield target


@pytest.mark.parametrize("item", choose_sample(), ids=lambda item: item.name)
def test_an_attempt_is_refused_and_its_twin_allowed(target: Target, item: Attempt):
    assert make_attempt(target, item).problem == ""
