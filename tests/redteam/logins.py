"""Acts of persons: a note that was signed for something else, a user without a right, a reason that may not be kept."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from tests.redteam.catalogue import attempt
from tests.redteam.shop_project import AUTHOR
from tests.redteam.target import Target, describe_outcome
from tests.redteam.vendor_drops import describe_delivery
from wellspring.cli.worker_client import run_worker


def _read_approval(target: Target) -> dict[str, Any]:
    """Read the job of the approval, with the note that bob signed, from the queue, as root may."""
    path = target.project.jobs_dir / "queue.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
        jobs = [json.loads(content) for (content,) in file.execute("select content from jobs")]
    return next(job for job in jobs if job["kind"] == "approve" and job["state"] == "succeeded")


def _submit(target: Target, job: dict[str, Any], **changes: Any) -> str:
    note = {**job["parameters"]["note"], **changes}

    def submit() -> str:
        run_worker(target.project, "approve", job["subject"], params={"note": note})
        return "executed"

    return describe_outcome(submit)


@attempt("small", "owner", refused="refused", allowed="executed", needs="model", recorded=("authorize",))
def change_a_signed_note(target: Target, is_twin: bool) -> str:
    """The owner submits bob's approval for another digest; the note as it was signed is valid, and changes nothing."""
    assert target.released
    job = _read_approval(target)
    lines = job["parameters"]["note"]["lines"]
    return _submit(target, job) if is_twin else _submit(target, job, lines=[*lines[:2], "0" * 64])


@attempt("small", "owner", refused="corrupted", allowed="executed", needs="model", recorded=("authorize",))
def sign_in_anothers_name(target: Target, is_twin: bool) -> str:
    """The owner submits bob's approval as one of ann; as bob's it is valid, and changes nothing."""
    assert target.released
    job = _read_approval(target)
    return _submit(target, job) if is_twin else _submit(target, job, user=AUTHOR)


@attempt("small", "owner", refused="nothing changed", allowed="one release", needs="model")
def execute_a_note_twice(target: Target, is_twin: bool) -> str:
    """The owner submits bob's approval again, to make the release live again; the first time it made it live."""
    assert target.released
    before = target.count_actions("promote")
    if is_twin:
        return "one release" if before == 1 else f"{before} releases"
    _submit(target, _read_approval(target))
    return "nothing changed" if target.count_actions("promote") == before else "promoted again"


def _find_finding(target: Target) -> str:
    describe_delivery(target, "")
    findings = target.run("finding", "list").document
    return str(findings[0]["id"])


def _acknowledge(target: Target, name: str, reason: str) -> str:
    words = ("finding", "acknowledge", _find_finding(target), "--reason", reason)
    return f"exit {target.shop.act(name, *words).exit_code}"


@attempt("small", "owner", refused="exit 77", allowed="exit 0", needs="model", recorded=("authorize acknowledge",))
def acknowledge_without_a_right(target: Target, is_twin: bool) -> str:
    """An approver acknowledges a finding, which no policy permits; an author may."""
    name = "vic" if is_twin else "vera"
    target.enroll(name, "author" if is_twin else "approver")
    target.first_entry = target.count_entries()
    return _acknowledge(target, name, "the vendor removes it")


@attempt("small", "owner", refused="exit 77", allowed="exit 0", needs="model", recorded=("sign user:wanda",))
def act_after_ones_removal(target: Target, is_twin: bool) -> str:
    """A user acts who was removed from the project's file; one who is in it may."""
    name = "wim" if is_twin else "wanda"
    target.enroll(name, "author")
    if not is_twin:
        project_file = target.project.root / "wellspring.toml"
        text = project_file.read_text(encoding="utf-8")
        project_file.write_text(text.replace('\n[users.wanda]\nroles = ["author"]\n', ""), encoding="utf-8")
    return _acknowledge(target, name, "the vendor removes it")


@attempt("small", "owner", refused="exit 77", allowed="exit 0", needs="model")
def record_a_person_as_a_reason(target: Target, is_twin: bool) -> str:
    """A user writes personal data into a reason, which the ledger would keep for ever; another reason is kept."""
    name = "xeno" if is_twin else "xara"
    target.enroll(name, "author")
    return _acknowledge(target, name, "seen" if is_twin else "ask the person at ada.lovelace@mail.example")
