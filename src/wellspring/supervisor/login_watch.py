"""Record what OpenBao refused: wrong and locked passwords, used codes and credentials, requests beyond a role.

Only OpenBao sees them. It writes each response to its audit log before it sends it, and the supervisor reads what was
added.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wellspring.errors import CorruptedError, Refused
from wellspring.observe.refusal_log import RefusalLog
from wellspring.runtime.files import open_plain_file
from wellspring.trust.identity.users import USER_NAME_PATTERN

_MAX_BYTES = 4 * 2**20
"""Read at once; the rest is read at the next look."""
_USER_LOGIN = re.compile(r"auth/users-[0-9a-f]+/login/(.+)")
_KINDS = {
    "auth/approle/login": "credential",
    "sys/wrapping/unwrap": "wrapped_credential",
    "sys/mfa/validate": "code",
}


class OpenBaoRefusals:
    """The refusals in OpenBao's audit log from now on.

    An entry names the kind of request and the user or role, never the path or the error, which a caller chooses.
    """

    def __init__(self, path: Path, refusals: RefusalLog) -> None:
        self._path = path
        self._refusals = refusals
        self._position = path.stat().st_size

    def record_new(self) -> None:
        """Record the refusals that were added since the last call. A log that cannot be read now is read later."""
        try:
            lines = self._read_lines()
        except (OSError, CorruptedError):
            return
        for line in lines:
            # The audit log has a line for each request; few of them are parsed.
            if b'"error"' in line and (refusal := _find_refusal(line)) is not None:
                kind, peer = refusal
                refused = Refused(f"OpenBao refused a request of {peer} ({kind})", fix="read OpenBao's audit log")
                self._refusals.record("authenticate", "server:openbao", peer, refused, kind=kind)

    def _read_lines(self) -> list[bytes]:
        if self._path.stat(follow_symlinks=False).st_size < self._position:
            # It was replaced by a shorter one.
            self._position = 0
        with os.fdopen(open_plain_file(self._path), "rb") as file:
            file.seek(self._position)
            content = file.read(_MAX_BYTES)
        whole = content.rfind(b"\n") + 1
        if not whole and len(content) == _MAX_BYTES:
            # A longer line is left out.
            whole = _MAX_BYTES
        self._position += whole
        return content[:whole].splitlines()


def _find_refusal(line: bytes) -> tuple[str, str] | None:
    """Return the kind of a refused request, and who sent it; None for another line.

    OpenBao writes one line or two about a refused request; what matters is that there is one.
    """
    try:
        record: Mapping[str, Any] = json.loads(line)
        path = str(record["request"]["path"])
        data = record.get("response", {}).get("data")
        is_error = bool(record.get("error")) or (isinstance(data, dict) and "error" in data)
        is_denied = "permission denied" in str(record.get("error", ""))
        role = str(((record.get("auth") or {}).get("metadata") or {}).get("role_name") or "unknown")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not is_error:
        return None
    if (login := _USER_LOGIN.fullmatch(path)) is not None:
        return "password", f"user:{login[1] if USER_NAME_PATTERN.fullmatch(login[1]) else 'unknown'}"
    if path in _KINDS:
        return _KINDS[path], "unknown"
    return ("permission", f"role:{role}") if is_denied else None
