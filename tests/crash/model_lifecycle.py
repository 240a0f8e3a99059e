"""Kills a project at the crash points of transform, train, approve, promote, deploy, rollback, packs and retention.

Each crash point has a command that reaches it; the same command must complete the work when it runs again. This takes
several minutes, because a TOTP code works once in 30 seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash.challengers import read_deployment
from tests.crash.kill import Outcome
from tests.crash.project import ProjectFixture
from tests.crash.serving_project import MODEL, ServingProject
from wellspring.cli.worker_client import run_worker
from wellspring.trust.ledger import journal
from wellspring.workflows.compact import MIN_FILES

REBUILDS = ("built.", "materialize.", "workflows.transform:")
TRAININGS = ("models.train:",)
RELEASES = ("workflows.approve:", "release.promote:")
ROLLBACKS = ("release.rollback:",)
DEPLOYMENTS = ("release.deploy:",)
UNDEPLOYMENTS = ("release.undeploy:",)
RECORDINGS = ("workflows.outcomes:",)
PACKINGS = ("ledger.pack:",)
REMOVALS = ("ledger.journal:",)
RETENTIONS = ("lake.retire:", "workflows.retain:")
COMPACTIONS = ("workflows.compact:",)
CHANGES = ("change.activate:", "workflows.propose_change:", "workflows.approve_change:")


def is_lifecycle_point(name: str) -> bool:
    """Return True for a crash point of this scenario, False for one of the ingest scenario."""
    return name.startswith(
        (
            *REBUILDS,
            *TRAININGS,
            *RELEASES,
            *ROLLBACKS,
            *DEPLOYMENTS,
            *UNDEPLOYMENTS,
            *RECORDINGS,
            *PACKINGS,
            *REMOVALS,
            *RETENTIONS,
            *COMPACTIONS,
            *CHANGES,
        )
    )


class LifecycleKiller:
    """Kills the commands of one serving project repeatedly. At most one earlier release exists for a rollback."""

    def __init__(self, root: Path) -> None:
        self.project = ServingProject(root)
        self._releases: list[str] = []
        self._challenger = ""
        self._revision = 0

    def prepare(self) -> None:
        """Train, approve and promote the first release."""
        candidate = self.project.train_candidate()
        self.project.enroll_users("ines", "omar")
        self._releases.append(self.project.release_candidate(candidate))

    def release_next(self) -> str:
        """Train, approve and promote another release; return the former one."""
        former = self._releases[-1]
        self._releases.append(self._propose())
        self._act("omar", "release", "approve", self._releases[-1])
        return former

    def point(self, name: str) -> Outcome:
        """Kill the command at one crash point, run it again, and check the project."""
        started = time.perf_counter()
        if name.startswith(REBUILDS):
            self._land_rows()
            hit = self._crash_command(name, "transform")
        elif name.startswith(TRAININGS):
            hit = self._crash_command(name, "train", MODEL)
        elif name.startswith(RECORDINGS):
            self.project.must("predict", MODEL, "--newest")
            hit = self._crash_command(name, "outcome", "record")
        elif name.startswith((*RETENTIONS, *COMPACTIONS)):
            hit = self._crash_retention(name)
        elif name.startswith(PACKINGS):
            hit = self._crash_packing(name)
        elif name.startswith(REMOVALS):
            hit = self._crash_removal(name)
        elif name.startswith((*DEPLOYMENTS, *UNDEPLOYMENTS)):
            hit = self._crash_deployment(name)
        elif name.startswith(CHANGES):
            hit = self._crash_change(name)
        elif name.startswith(RELEASES):
            self._challenger = ""
            if len(self._releases) > 1:
                self._act("ines", "release", "rollback", MODEL)
                self._releases.pop()
            self._releases.append(self._propose())
            hit = self._act("omar", "release", "approve", self._releases[-1], crash_at=name)
        else:
            self._challenger = ""
            if len(self._releases) == 1:
                self._releases.append(self._propose())
                self._act("omar", "release", "approve", self._releases[-1])
            hit = self._act("ines", "release", "rollback", MODEL, crash_at=name)
            self._releases.pop()
        error = list(self._violations())
        if self._live() != self._releases[-1]:
            error.append(f"{self._live()} is live, not {self._releases[-1]}")
        return Outcome(name, hit, tuple(error), time.perf_counter() - started)

    def _crash_deployment(self, name: str) -> bool:
        """Kill the job that deploys a challenger, or that ends its role; the ledger then says which one stands."""
        words = ("release", "undeploy", MODEL)
        if not self._challenger:
            self._challenger = self._propose()
            words = ("release", "approve", self._challenger, "--challenger", "--share", "50%")
        elif name.startswith(DEPLOYMENTS) or not read_deployment(self.project).challenger:
            words = ("release", "deploy", self._challenger, "--share", "25%")
        if name.startswith(UNDEPLOYMENTS) and "undeploy" not in words:
            self._act("omar", *words)
            words = ("release", "undeploy", MODEL)
        hit = self._act("omar", *words, crash_at=name)
        expected = "" if name.startswith(UNDEPLOYMENTS) else self._challenger
        assert read_deployment(self.project).challenger == expected, read_deployment(self.project)
        return hit

    def _propose(self) -> str:
        """Train and propose a release that was never live: a release that was rolled back stays excluded."""
        self._land_rows()
        self.project.must("transform")
        proposed = self.project.act("ines", "release", "propose", str(self.project.must("train", MODEL)["id"]))
        assert proposed.exit_code == 0, proposed.screen
        return str(json.loads(proposed.out)["release"]["id"])

    def _crash_command(self, name: str, *words: str) -> bool:
        ran = self.project.run(*words, crash_at=name)
        self.project.must(*words, codes=(0, 3))
        return ran.code not in {0, 3} and "signal 9" in ran.error

    def _crash_retention(self, name: str) -> bool:
        """Kill a retention; each answer is recomputed afterwards, and only an edition that nothing names is retired."""
        toml = self.project.root / "wellspring.toml"
        if "[retention]" not in (text := toml.read_text()):
            toml.write_text(f'{text}\n[retention]\neditions = "1s"\n')
        before = self.project.must("predict", MODEL, "--newest")["id"]
        for _ in range(2):
            self._land_rows()
            self.project.must("transform")
        answers = [before]
        for _ in range(MIN_FILES if name.startswith(COMPACTIONS) else 1):
            answers.append(self.project.must("predict", MODEL, "--newest")["id"])
            self.project.must("outcome", "record")
        hit = self._crash_command(name, "retain")
        self._require_answers(answers)
        self.project.must("outcome", "record", codes=(0, 3))
        return hit

    def _crash_packing(self, name: str) -> bool:
        """Kill the sequencer while it packs an answer; return True if it was killed."""
        self.project.must("down")
        self.project.must("up", crash_at=name)
        answer = self.project.must("predict", MODEL, "--newest")
        hit = self.project.run("ledger", "pack").code != 0
        # The supervisor has started another one by now.
        self.project.must("down")
        self.project.must("up")
        self.project.must("ledger", "pack")
        self._require_answers([answer["id"]])
        return hit

    def _crash_removal(self, name: str) -> bool:
        """Kill the API while it removes packed lines from its journal, which it does when it starts."""
        folder = self.project.project.journals_dir / "api"
        keys = self.project.sample_keys(100)
        answers: list[str] = []
        with self.project.client() as client:
            while len(segments := journal.list_segments(folder)) < 4:
                answers += [client.predict(MODEL, key, include_reasons=False).id for key in keys]
        self.project.must("ledger", "pack")
        self.project.must("down")
        self.project.run("up", crash_at=name)
        left = journal.list_segments(folder)
        self.project.must("down")
        self.project.must("up")
        self._require_answers(answers[:: len(answers) // 10])
        return segments[0] not in left

    def _require_answers(self, answers: list[str]) -> None:
        """Raise AssertionError unless the log has each of these answers once, and its line can be read."""
        again = run_worker(self.project.project, "replay-predictions", params={"predictions": answers})
        assert all(item["equal"] for item in again), again

    def _act(self, user_name: str, *words: str, crash_at: str | None = None) -> bool:
        """Run a command as a user, and again after a crash. A second one may find nothing to undo (exit 77)."""
        output = self.project.act(user_name, *words, crash_at=crash_at)
        if crash_at is None:
            assert output.exit_code == 0, output.screen
            return False
        again = self.project.act(user_name, *words)
        assert again.exit_code in ({0, 77} if {"rollback", "undeploy"} & set(words) else {0}), again.screen
        return output.exit_code != 0 and "signal 9" in output.screen

    def _crash_change(self, name: str) -> bool:
        """Kill the proposal or the approval of the dbt code; afterwards the release is live once."""
        self._change_code()
        proposal = ("release", "propose", "--kind", "transform")
        is_proposal = name.startswith("workflows.propose_change:")
        # The proposal finds the build: the code that is typed may not wait for it.
        self.project.must("run", "draft-change", "transform:project")
        hit = self._act("ines", *proposal, crash_at=name if is_proposal else None)
        changes = self.project.must("release", "list")["changes"]
        (proposed,) = [item["release"]["id"] for item in changes if item["state"] == "open"]
        approval = ("release", "approve", proposed)
        hit |= self._act("omar", *approval, crash_at=None if is_proposal else name)
        pointer = self.project.project.changes_dir / "live" / "transform" / "project"
        assert pointer.read_text(encoding="ascii").strip() == proposed
        return hit

    def _land_rows(self) -> None:
        """Land another drop, so that `transform` builds again."""
        self._revision += 1
        ProjectFixture.attach(self.project.root).send(900 + self._revision)
        self.project.must("ingest")

    def _change_code(self) -> None:
        """Change a file of the dbt project that does not affect results: it is other code, which needs a release."""
        self._revision += 1
        (self.project.root / "dbt" / "models" / "marts" / "README.md").write_text(f"change {self._revision}\n")

    def _live(self) -> str:
        return (self.project.project.models_dir / "live" / MODEL).read_text(encoding="ascii").strip()

    def _violations(self) -> Iterator[str]:
        """Describe every violation: in the ledger, an intent, an edition or the live release."""
        audited = self.project.run("ledger", "verify")
        if audited.code:
            yield f"the ledger does not verify: {audited.error}"
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
            yield f"{self._live()} is live, but the ledger says {switched[-1]}"
        if (again := [item for item in set(done) if item[0] == "approve" and done.count(item) > 1]) != []:
            yield f"{len(again)} releases were approved twice"
        result = self.project.must("predict", MODEL, "--newest")
        built = (folder / "built").read_text(encoding="ascii").strip()
        deployment = read_deployment(self.project)
        expected = deployment.challenger if result["role"] == "challenger" else self._live()
        if (result["release"], result["edition"]) != (expected, built):
            actual = f"release {result['release']} predicts from edition {result['edition']}"
            yield f"{actual}, not {expected} from {built}"
