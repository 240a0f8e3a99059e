"""The folder of a project's Unix sockets: `.wellspring/runtime-dir` names the one that `up` chose."""

from __future__ import annotations

import hashlib
from pathlib import Path

SYSTEM_RUNTIME = Path("/run/wellspring")
"""Parent of the folders of projects whose servers root starts: no other user can create anything there."""
SHARED_RUNTIME = Path("/tmp")
"""Parent of the others. Never TMPDIR: all shells of the owner and all services must find the same sockets."""


def name_socket_folder(root: Path) -> str:
    """Return ws-<8 hex of the project's path>: short, because the path of a socket has at most 107 bytes."""
    return f"ws-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def read_socket_folder(record: Path, name: str) -> Path:
    """Return the recorded path; before the first `up`, or for any other content, the folder of this name in /tmp.

    A caller, who may not read the record, gets the folder of this name in /run/wellspring if it exists.
    """
    try:
        recorded = Path(record.read_text(encoding="utf-8", errors="replace").strip())
    except (FileNotFoundError, NotADirectoryError):
        return SHARED_RUNTIME / name
    except PermissionError:
        return (SYSTEM_RUNTIME if (SYSTEM_RUNTIME / name).is_dir() else SHARED_RUNTIME) / name
    is_valid = recorded.parent in {SYSTEM_RUNTIME, SHARED_RUNTIME} and recorded.name.startswith(name)
    return recorded if is_valid else SHARED_RUNTIME / name
