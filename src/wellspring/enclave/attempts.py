"""Count the attempts to read a drop in which this process ended, so that one file cannot stop a source for ever."""

from __future__ import annotations

import faulthandler
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wellspring.runtime.files import write_atomically

MAX_ENDED_ATTEMPTS = 5
"""After so many the drop is rejected. A process may also be killed for another reason than the file."""


class AttemptCounter:
    """Counts in files of a folder, one for each drop whose reading has not come to its end. One attempt at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def count_attempt(self, drop_id: str) -> Generator[int]:
        """Yield how many earlier attempts to read a drop ended with the process.

        The count is durable before the block, and removed when the block ends in any way but with its process or for
        want of memory. If a library ends the process (it aborts when it gets no memory, or uses memory wrongly), the
        file of the attempt says so, and no further attempt is made.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / drop_id
        ended = self.read_count(drop_id)
        write_atomically(path, f"{ended + 1}\n".encode(), mode=0o600)
        try:
            # The report has the names of files and functions only.
            with path.open("a") as report:
                faulthandler.enable(report, all_threads=False)
                try:
                    yield ended
                finally:
                    faulthandler.disable()
        except MemoryError:
            raise
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)

    def forget_attempts(self, drop_id: str) -> None:
        """Forget the attempts to read a drop: a user lets it be read again."""
        (self._folder / drop_id).unlink(missing_ok=True)

    def read_count(self, drop_id: str) -> int:
        """Return how many attempts to read a drop ended with the process; all that it may have, after a fault."""
        try:
            count, _, report = (self._folder / drop_id).read_text(encoding="ascii", errors="replace").partition("\n")
        except FileNotFoundError:
            return 0
        return MAX_ENDED_ATTEMPTS if report else int(count)
