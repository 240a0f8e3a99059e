"""The thread of the sequencer that packs lines at a fixed cadence, when many wait, and when a caller asks for it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from datetime import timedelta

from wellspring.errors import Unavailable, WellspringError, format_error
from wellspring.records.clock import Clock
from wellspring.sequencer.integration import POLL_SECONDS
from wellspring.sequencer.packing import MAX_PACK_LINES, LinePacker
from wellspring.trust.ledger.remote_sequencer import PackReport

FIRST_PACK = timedelta(minutes=5)
"""Time from the start of the process to the first packs, if the interval is not shorter."""
_RETRY = timedelta(minutes=1)


class PackingLoop:
    """Packs lines beside the integration, so that no answer waits for it.

    integrate: waits until the witnessed log has what is durable now; raises what stops it. interval: between two runs.
    """

    def __init__(
        self, packer: LinePacker, integrate: Callable[[], object], *, clock: Clock, interval: timedelta
    ) -> None:
        self._packer = packer
        self._integrate = integrate
        self._clock = clock
        self._interval = interval
        self._lock = threading.Lock()
        self._ended_at, self._delay = clock.now(), min(FIRST_PACK, interval)
        self.problem = ""

    def run(self, stop: threading.Event) -> None:
        """Pack until the event is set."""
        while not stop.wait(POLL_SECONDS):
            self.run_once()

    def run_once(self) -> None:
        """Pack if it is time for it, or if a whole pack waits. A problem is logged when it begins."""
        # An absolute difference: after the clock was set back, the next packs are not hours away.
        is_due = abs(self._clock.now() - self._ended_at) >= self._delay
        try:
            if is_due or (not self.problem and self._packer.waiting >= MAX_PACK_LINES):
                self.pack()
        except WellspringError as exc:
            self._fail(exc)

    def pack(self) -> PackReport:
        """Pack what the log has, and release the journals. Raises CorruptedError for a lost line, Unavailable."""
        with self._lock:
            self._integrate()
            try:
                packed = self._packer.write_packs()
                self._integrate()
                self._packer.release_journals(packed.counts)
            except OSError as exc:
                raise Unavailable(f"line packs cannot be written ({exc.strerror})", fix="free the disk") from None
            self._ended_at, self._delay, self.problem = self._clock.now(), self._interval, ""
            return PackReport(packed.packs, packed.lines)

    def _fail(self, error: WellspringError) -> None:
        self._ended_at, self._delay = self._clock.now(), min(_RETRY, self._interval)
        if self.problem != error.what:
            print(format_error(error.slug, error.what, error.fix), file=sys.stderr)
        self.problem = error.what
