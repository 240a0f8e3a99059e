"""Kills a project at the crash points of decisions: about drops, and about versions of their contract.

Two drops wait for their set, which a stopped drop holds back. A user withdraws the first one, has it judged again, or
discards its quarantined rows; or two users release a version of the contract. A process is killed, and the user decides
again. Then the set is released, and each row that must be published is published once.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.health_plan import population
from tests.crash import crash_points
from tests.crash.kill import FAILURE_SECONDS, Outcome
from tests.crash.project import ROWS, ProjectFixture
from tests.crash.serving_project import ServingProject

PREFIXES = tuple(f"{place}.{act}:" for place in ("enclave", "workflows") for act in ("withdraw", "rejudge", "discard"))
CONTRACTS = ("enclave.accept:", "workflows.contract:")
FURTHER = ("workflows.mended:", "lake.discard:", "enclave.backfill:")
QUARANTINED = 6
COLUMN = """      - name: added_{number}
        logicalType: string
        classification: clinical
        customProperties: [{{ property: egress, value: plain }}]
"""
USER, APPROVER = "ines", "omar"


def is_decision_point(name: str) -> bool:
    """Return True for a crash point of this scenario."""
    return name.startswith((*PREFIXES, *CONTRACTS, *FURTHER))


class DropProject(ServingProject):
    """A project with a login. intake: the drops and the observations of the ingest scenario."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.intake = ProjectFixture.attach(root)

    def hold_set(self, number: int, is_held: bool) -> None:
        """Deliver a file that is stopped, which holds back the set of the claims, or one that replaces it."""
        name = f"eligibility_{number:04d}{'' if is_held else '_again'}.csv"
        path = self.root / "vendor" / "outbox" / name
        if is_held:
            path.write_text("member_id\nx\n")
        else:
            population.write_csv(population.spans(population.members(3, number), number), path)

    def mend_contract(self) -> None:
        """Write the next version of the contract of the claims: it has one more column."""
        path = self.root / "contracts" / "medical_claim.odcs.yaml"
        text = path.read_text()
        (minor,) = map(int, re.findall(r"\nversion: 1\.(\d+)\.0\n", text))
        more = COLUMN.format(number=minor + 1)
        text = text.replace(f"\nversion: 1.{minor}.0\n", f"\nversion: 1.{minor + 1}.0\n")
        path.write_text(text.replace("    properties:\n", f"    properties:\n{more}"))

    def name_person(self, column: str) -> None:
        """Let the contract of the claims name a person by a column, from its next version on."""
        self.mend_contract()
        path = self.root / "contracts" / "medical_claim.odcs.yaml"
        text = re.sub(r"  - \{ property: person, value: \w+ \}\n", "", path.read_text())
        named = f"  - {{ property: person, value: {column} }}\nslaProperties:"
        path.write_text(text.replace("slaProperties:", named))

    def drop_of(self, file: str) -> str:
        """Return the drop of a file."""
        return next(item["id"] for item in self.must("drop", "list", "--all") if item["name"] == file)


class DropKiller:
    """Kills the processes of one project repeatedly."""

    def __init__(self, root: Path) -> None:
        self.project = DropProject(root)
        self._number = 0
        self._withdrawn: set[str] = set()
        self._persons, self._unread = "", 0

    def prepare(self) -> None:
        """Start the servers, enroll a user, and stop a drop of the set."""
        self.project.must("up")
        self.project.enroll_users(USER, APPROVER)

    def point(self, name: str) -> Outcome:
        """Kill a process at one crash point, decide again, release the set, and check the project."""
        started = time.perf_counter()
        first, later = (self._send() for _ in range(2))
        self.project.hold_set(self._number, True)
        self.project.must("ingest", codes=(75,))
        drop = self.project.drop_of(first)
        words = ("rejudge", "discard", "mended", "accept", "contract", "backfill")
        act = next((word for word in words if f".{word}:" in name), "withdraw")
        if name.startswith("lake.discard:"):
            act = "withdraw"
        hit = self._decide(name, act, drop)
        if act == "withdraw":
            self._withdrawn.add(drop)
        self.project.hold_set(self._number, False)
        self.project.must("ingest", codes=(0, 3, 75))
        self.project.must("ingest", codes=(3, 75))
        error = list(self._violations(drop, act, self.project.drop_of(later)))
        return Outcome(name, hit, tuple(error), time.perf_counter() - started)

    def _decide(self, name: str, act: str, drop: str) -> bool:
        """Decide with a kill, and again without; return whether a process was killed."""
        if act in {"accept", "contract"}:
            return self._release(name)
        if act == "mended":
            self.project.mend_contract()
            self.project.release_contract("medical_claim")
            ran = self.project.run("ingest", crash_at=name)
            self.project.must("ingest", codes=(0, 3, 75))
            return "signal 9" in ran.error
        if act == "backfill":
            return self._backfill(name)
        group = "quarantine" if act == "discard" else "drop"
        words = (group, act, drop, "--reason", "a crash test")
        hit = self._act_and_die(name, USER, *words)
        again = self.project.act(USER, *words)
        # What was decided before the kill cannot be decided again, or a judgement ends with a stopped set.
        assert again.exit_code in {0, 66, 75, 77}, again.screen
        return hit

    def _release(self, name: str) -> bool:
        """Release a version of the contract with a kill at the approval, and approve it again."""
        self.project.mend_contract()
        release = self.project.propose_contract("medical_claim")
        words = ("release", "approve", release)
        hit = self._act_and_die(name, APPROVER, *words)
        again = self.project.act(APPROVER, *words)
        assert again.exit_code == 0, again.screen
        unreleased = self.project.must("ingest", codes=(0, 3, 75))["unreleased_contracts"]
        assert unreleased == [], "the released version is in force"
        return hit

    def _act_and_die(self, name: str, user: str, *words: str) -> bool:
        """Run a command as a user with a kill at a crash point; return whether a process was killed."""
        if not name.startswith("enclave."):
            return "signal 9" in self.project.act(user, *words, crash_at=name).screen
        failures = self._count_failures()
        self.project.must("down")
        self.project.must("up", crash_at=name)
        self.project.act(user, *words)
        hit = self._wait_failure(failures)
        self.project.run("down")
        self.project.must("up")
        return hit

    def _backfill(self, name: str) -> bool:
        """Publish the drops, let their contract name a person, and kill the enclave while it reads them again."""
        self.project.hold_set(self._number, False)
        self.project.must("ingest", codes=(0, 3, 75))
        self._persons = next(column for column in ("person_id", "member_id") if column != self._persons)
        self.project.name_person(self._persons)
        self.project.release_contract("medical_claim")
        self.project.must("ingest", codes=(0, 3, 75))
        self._unread = len(self.project.must("vault", "status")["unread_drops"])
        failures = self._count_failures()
        self.project.must("down")
        self.project.must("up", crash_at=name)
        self.project.run("vault", "backfill")
        hit = self._wait_failure(failures)
        self.project.run("down")
        self.project.must("up")
        self.project.must("vault", "backfill")
        return hit

    def _violations(self, drop: str, act: str, later: str) -> Iterator[str]:
        audited = self.project.run("ledger", "verify")
        if audited.code:
            yield f"the ledger does not verify: {audited.error}"
        if act == "backfill":
            counts = self.project.must("vault", "status")
            if not self._unread or counts["unread_drops"] or not counts["rows"]:
                yield f"of {self._unread} drops to read for their persons the vault says {counts}"
        listed = [item for item in self.project.must("drop", "list", "--all") if item["contract"] == "medical_claim"]
        described: dict[str, Any] = {item["id"]: item["account"] for item in listed}
        yield from (
            f"the account of {name} does not balance" for name, item in described.items() if not item["balanced"]
        )
        good = ROWS - QUARANTINED
        expected = {
            "withdraw": {"withdrawn": ROWS},
            "discard": {"published": good, "discarded": QUARANTINED},
        }.get(act, {"published": good, "quarantined": QUARANTINED})
        for name, counts in ((drop, expected), (later, {"published": good, "quarantined": QUARANTINED})):
            actual = {key: described[name][key] for key in counts}
            if actual != counts:
                yield f"the account of {name} is {actual}, not {counts}"
        rows = self.project.intake._rows()
        if doubled := [row for row, times in Counter(rows).items() if times > 1]:
            yield f"{len(doubled)} rows are published twice"
        if present := {name for name, _ in rows} & self._withdrawn:
            yield f"rows of withdrawn drops are published: {sorted(present)}"
        published = Counter(name for name, _ in rows)
        for name, account in described.items():
            if published[name] != account["published"]:
                yield f"{published[name]} rows of {name} are published, and its account has {account['published']}"

    def _send(self) -> str:
        self._number += 1
        return self.project.intake.send(self._number).name

    def _count_failures(self) -> int:
        incidents = self.project.must("incident", "list", "--all")
        return sum(1 + len(incident["acts"]) for incident in incidents if incident["subject"] == "server:enclave")

    def _wait_failure(self, earlier: int) -> bool:
        deadline = time.monotonic() + FAILURE_SECONDS
        while self._count_failures() == earlier:
            if time.monotonic() > deadline:
                return False
            threading.Event().wait(0.1)
        return True


def list_points() -> list[str]:
    """List the crash points of this scenario."""
    return [name for name in crash_points.crash_point_names() if is_decision_point(name)]
