"""Record what a server refused, at most once a minute for each peer, so that a peer cannot flood the ledger."""

from __future__ import annotations

import sys
import threading
import time

from pydantic import JsonValue

from wellspring.errors import Refused, WellspringError, format_error
from wellspring.records.observe import Recorder

INTERVAL_SECONDS = 60.0
MAX_PEERS = 64
"""Peers with an entry of their own within an interval; more of them share one."""
_OTHER_PEERS = "others"


class RefusalLog:
    """The refusals of one server. Each entry has the number of refusals of its peer before it that have none.

    The time between two entries is real time, also under a simulated clock.
    """

    def __init__(self, step: Recorder, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._step = step
        self._interval = interval_seconds
        self._lock = threading.Lock()
        self._last_recorded: dict[tuple[tuple[str, str, str], str], tuple[float, int]] = {}

    def record(self, action: str, subject: str, peer: str, refused: Refused, *, kind: str = "") -> None:
        """Record a refusal, or count it. peer: who was refused; kind: of the request, if the server has several.

        An entry that cannot be written is reported on standard error: the refusal itself stands.
        """
        suppressed = self._count_suppressed((action, subject, kind), peer)
        if suppressed is None:
            return
        try:
            facts: dict[str, JsonValue] = {"peer": peer, "suppressed_count": suppressed}
            with self._step(action, subject, facts={**facts, "kind": kind} if kind else facts):
                raise refused
        except WellspringError as error:
            if error is not refused:
                print(format_error(error.slug, error.what, error.fix), file=sys.stderr, flush=True)

    def _count_suppressed(self, request: tuple[str, str, str], peer: str) -> int | None:
        """Return the number of refusals without an entry since the last one; None if it is too early for another."""
        now = time.monotonic()
        with self._lock:
            key = (request, peer)
            if key not in self._last_recorded:
                recent = {key: last for key, last in self._last_recorded.items() if now - last[0] < self._interval}
                if len(recent) >= MAX_PEERS:
                    key = (request, _OTHER_PEERS)
                elif len(self._last_recorded) >= 2 * MAX_PEERS:
                    self._last_recorded = recent
            last_recorded, suppressed = self._last_recorded.get(key, (float("-inf"), 0))
            if now - last_recorded < self._interval:
                self._last_recorded[key] = (last_recorded, suppressed + 1)
                return None
            self._last_recorded[key] = (now, 0)
            return suppressed
