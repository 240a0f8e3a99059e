"""What a job's process checks before it does anything."""

from __future__ import annotations

import pytest

from tests.builders.approvals import Somebody
from tests.builders.jobs import build_job
from tests.builders.user_notes import SIGNED_AT, sign
from wellspring.errors import CorruptedError, Refused
from wellspring.records.jobs import Job
from wellspring.trust import user_notes
from wellspring.worker.job_process import require_submitted_note

NOTE = sign(Somebody("ana", "approver"), "rollback", "denials", "none", SIGNED_AT)


def build_rollback(**values: object) -> Job:
    fields = {
        "parameters": {"note": NOTE.model_dump(mode="json")},
        "note_digest": user_notes.compute_note_digest(NOTE),
        **values,
    }
    return build_job(kind="rollback", subject="denials", **fields)


def test_the_note_of_an_act_is_the_one_that_was_submitted():
    require_submitted_note(build_rollback())
    with pytest.raises(CorruptedError, match="not the one that was submitted"):
        require_submitted_note(build_rollback(note_digest="0" * 64))
    with pytest.raises(Refused, match="no signed note"):
        require_submitted_note(build_rollback(parameters={}))


def test_other_jobs_have_no_note():
    require_submitted_note(build_job())
