"""Record backups, exports of the master key and restores: the owner's commands have no journal of their own."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from wellspring.embedded.control_socket import REQUEST_FIX
from wellspring.errors import CorruptedError, Refused, Unavailable
from wellspring.project import Project
from wellspring.records.observe import Recorder, StepContext
from wellspring.records.trust import Ref
from wellspring.runtime.trusted_folder import read_file, remove_file

BACKUP_OPERATIONS = ("begin_backup", "end_backup", "record_key_export")
RESTORED_FILE = "restored.json"
"""File in `.wellspring/` that a restore leaves for the next start, which records it."""


class BackupRecords:
    """The open step of the backup that runs. A backup that ended without a word is recorded as failed by the next."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._backup = ""
        self._step: StepContext | None = None
        self._open_step = ExitStack()

    def handle_request(self, request: dict[str, Any], step: Recorder | None) -> dict[str, Any]:
        """Handle one request of a command of the owner. Raises Unavailable, Refused."""
        if step is None:
            raise Unavailable("the supervisor is not ready", fix="try again in a moment")
        match request:
            case {"op": "begin_backup", "id": str(backup)}:
                self._end_interrupted(str(request.get("former", "")), str(request.get("former_digest", "")))
                stack = ExitStack()
                stack.enter_context(step.continue_trace(str(request.get("trace", ""))))
                facts: dict[str, Any] = {"principal": "owner"}
                self._step = stack.enter_context(step("backup", f"backup:{backup}", intent=True, facts=facts))
                self._backup, self._open_step = backup, stack
                return {"intent": self._step.id}
            case {"op": "end_backup", "id": str(backup), "digest": str(digest), "files": str(files), "size": str(size)}:
                if self._step is None or self._backup != backup:
                    raise Refused(f"the backup {backup} was not announced", fix="run `wellspring backup create` again")
                self._step.add_outputs(Ref(name=f"backup:{backup}", digest=digest))
                self._step.add_facts(files=int(files), log_size=int(size))
                self._close_step()
                return {"recorded": backup}
            case {"op": "record_key_export", "check": str(check)}:
                with (
                    step.continue_trace(str(request.get("trace", ""))),
                    step("export_key", "key:master", facts={"check": check, "shares": 2, "principal": "owner"}),
                ):
                    return {"recorded": check}
            case _:
                raise Refused("the supervisor does not support this request", fix=REQUEST_FIX)

    def record_restore(self, step: Recorder) -> None:
        """Record the restore that created this project's folder, once; without one do nothing."""
        path = self._project.state_dir / RESTORED_FILE
        try:
            restored = json.loads(read_file(path))
            backup, facts = str(restored["backup"]), dict[str, Any](restored["facts"])
            intent, digest = str(restored["intent"]), str(restored["digest"])
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            raise CorruptedError(f"{path} is damaged", fix="restore the backup again into an empty folder") from None
        step.complete_after_crash("backup", f"backup:{backup}", intent)
        with step("restore", f"backup:{backup}", inputs=[Ref(name=f"backup:{backup}", digest=digest)], facts=facts):
            pass
        remove_file(path)

    def _end_interrupted(self, former: str, digest: str) -> None:
        """End the step of a command that was killed: as done if its backup is complete."""
        if self._step is not None and self._backup == former:
            self._step.add_outputs(Ref(name=f"backup:{former}", digest=digest))
            self._close_step()
        elif self._step is not None:
            interrupted = Unavailable("the backup was interrupted", fix="run the command again")
            self._open_step.__exit__(type(interrupted), interrupted, None)
            self._step = None

    def _close_step(self) -> None:
        self._step = None
        self._open_step.close()
