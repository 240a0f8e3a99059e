"""Watches the processes of one project while it runs, and records their arguments and environments."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from tests.phi.search import Hit, Person, search_bytes


class ProcessWatch:
    """Reads /proc every 50 ms for processes that have the project's path in their arguments or environment.

    observed: the distinct contents, by process name and file (`python: cmdline`).
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root).encode()
        self.observed: dict[str, set[bytes]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def hits(self, people: list[Person]) -> list[Hit]:
        """Search everything that was recorded."""
        return [
            hit for name, contents in self.observed.items() for hit in search_bytes(name, b"\n".join(contents), people)
        ]

    def _watch(self) -> None:
        rounds: dict[Path, int] = {}
        while not self._ended.wait(0.05):
            processes = set(Path("/proc").glob("[0-9]*"))
            # A process that ended is forgotten, because its number may be used again.
            rounds = {process: rounds.get(process, 0) + 1 for process in processes}
            for process, count in rounds.items():
                # Arguments change when a process starts another program, which it does soon; later once per second.
                if count <= 10 or count % 20 == 0:
                    self._observe(process)

    def _observe(self, process: Path) -> None:
        try:
            result = {part: (process / part).read_bytes() for part in ("cmdline", "environ")}
            name = (process / "comm").read_text().strip()
        except OSError:
            # The process ended after it was listed.
            return
        if any(self._root in content for content in result.values()):
            for part, content in result.items():
                # Arguments are separated by zero bytes, which the search would take for UTF-16.
                self.observed.setdefault(f"{name}: {part}", set()).add(content.replace(b"\0", b"\n"))
