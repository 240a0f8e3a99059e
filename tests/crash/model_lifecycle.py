"""Kill a house at the crash points between a landed edition and an answer: build, learn, approve, promote, go back.

Each point has a command that comes by it; the same command again has to finish what was half done. Several minutes, for
a person's code works once in half a minute: `make crash` walks them all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash.kill import Outcome
from tests.crash.serving_project import MODEL, Served

REBUILDS = ("built.", "materialize.", "workflows.transform:")
LEARNS = ("models.train:",)
RELEASES = ("workflows.approve:", "release.promote:")
ROLLBACKS = ("release.rollback:",)


def comes_by(name: str) -> bool:
    """Say whether a crash point lies on this way, and not on that of `receive`."""
    return name.startswith((*REBUILDS, *LEARNS, *RELEASES, *ROLLBACKS))


class Chain:
    """Kills one house that answers, again and again. Behind what is live lies at most one release to go back to."""

    def __init__(self, root: Path) -> None:
        self.project = Served(root)
        self._line: list[str] = []
        self._code = 0

    def prepare(self) -> None:
        """Walk to the first answer."""
        candidate = self.project.learned()
        self.project.enrolled("ines", "omar")
        self._line.append(self.project.released(candidate))

    def point(self, name: str) -> Outcome:
        """Die at one crash point, do the same again, and look."""
        started = time.perf_counter()
        if name.startswith(REBUILDS):
            self._change_code()
            hit = self._commanded(name, "transform")
        elif name.startswith(LEARNS):
            hit = self._commanded(name, "train", MODEL)
        elif name.startswith(RELEASES):
            if len(self._line) > 1:
                self._acted("ines", "release", "rollback", MODEL)
                self._line.pop()
            self._line.append(self._proposed())
            hit = self._acted("omar", "release", "approve", self._line[-1], crash_at=name)
        else:
            if len(self._line) == 1:
                self._line.append(self._proposed())
                self._acted("omar", "release", "approve", self._line[-1])
            hit = self._acted("ines", "release", "rollback", MODEL, crash_at=name)
            self._line.pop()
        error = list(self._error())
        if self._live() != self._line[-1]:
            error.append(f"{self._live()} is live, not {self._line[-1]}")
        return Outcome(name, hit, tuple(error), time.perf_counter() - started)

    def _proposed(self) -> str:
        """Propose a release that never was live, judged beside what is: what was taken back stays back."""
        self._change_code()
        self.project.must("transform")
        proposed = self.project.act("ines", "release", "propose", str(self.project.must("train", MODEL)["id"]))
        assert proposed.exit_code == 0, proposed.screen
        return str(json.loads(proposed.out)["release"]["id"])

    def _commanded(self, name: str, *words: str) -> bool:
        ran = self.project.run(*words, crash_at=name)
        self.project.must(*words, codes=(0, 3))
        return ran.code not in {0, 3} and "signal 9" in ran.complaint

    def _acted(self, user_name: str, *words: str, crash_at: str | None = None) -> bool:
        """Let a person do something; after a crash, again: who went back already finds nothing before it (77)."""
        output = self.project.act(user_name, *words, crash_at=crash_at)
        if crash_at is None:
            assert output.exit_code == 0, output.screen
            return False
        again = self.project.act(user_name, *words)
        assert again.exit_code in ({0, 77} if "rollback" in words else {0}), again.screen
        return output.exit_code != 0 and "signal 9" in output.screen

    def _change_code(self) -> None:
        """Change the dbt project in nothing that counts: what is built from other code is built anew."""
        self._code += 1
        (self.project.root / "dbt" / "models" / "marts" / "README.md").write_text(f"change {self._code}\n")

    def _live(self) -> str:
        return (self.project.project.models_dir / "live" / MODEL).read_text(encoding="ascii").strip()

    def _error(self) -> Iterator[str]:
        """Say what is not in order: the ledger, an open intent, the edition or the release that answers."""
        audited = self.project.run("ledger", "verify")
        if audited.code:
            yield f"the ledger does not verify: {audited.complaint}"
        entries: list[dict[str, Any]] = self.project.must("ledger", "tail", "-n", "1000000")
        settled = {entry["intent"] for entry in entries if entry["intent"] and entry["phase"] != "intent"}
        for entry in entries:
            if entry["phase"] == "intent" and f"{entry['service']}:{entry['sequence']}" not in settled:
                yield f"the intent of {entry['action']} {entry['subject']} is open"
        done = [(entry["action"], entry["subject"]) for entry in entries if entry["phase"] == "done"]
        folder = self.project.project.lake_dir / "editions"
        for path in sorted(folder.glob("*.json")):
            if (times := done.count(("publish", f"edition:{path.stem}"))) != 1:
                yield f"edition {path.stem} was written, and its publish is recorded {times} times"
        switched = [subject for action, subject in done if action in {"promote", "rollback"}]
        if switched[-1] != f"release:{self._live()}":
            yield f"{self._live()} is live, and the ledger says {switched[-1]}"
        if (again := [item for item in set(done) if item[0] == "approve" and done.count(item) > 1]) != []:
            yield f"{len(again)} releases were approved twice"
        result = self.project.must("predict", MODEL, "--newest")
        built = (folder / "built").read_text(encoding="ascii").strip()
        if (result["release"], result["edition"]) != (self._live(), built):
            yield f"release {result['release']} answers from edition {result['edition']}, not {self._live()} from {built}"
