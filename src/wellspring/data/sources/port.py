"""Interface of a source: a place where a vendor delivers files, and how a kind of source is registered."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from wellspring.errors import NotFound, Refused
from wellspring.records.clock import Clock
from wellspring.settings import SettingsKind, SourceSettings

_UNFINISHED_SUFFIXES = (".part", ".tmp")
_GLOB_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|[^*?\[]+|\[")
_GLOB_MARKS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class RemoteFile(NamedTuple):
    """One file in a source. modified: UTC, clock of the source. still_writing: the vendor may still be writing it.

    identity: changes whenever the content changes (the ETag of an object); empty where a source has no such thing, and
    then size and `modified` decide. seconds_ahead: how far `modified` lies in the future, by the clock that judges its
    age. is_dated: whether the source reports `modified`; it is 1970 if not. The age of a file that is dated ahead, or
    not at all, says nothing, so the caller waits until the file does not change.
    """

    name: str
    size: int
    modified: datetime
    still_writing: bool
    identity: str = ""
    seconds_ahead: int = 0
    is_dated: bool = True


class FileStream(Protocol):
    """An open file: what it is, and its bytes in order."""

    @property
    def file(self) -> RemoteFile: ...

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; b"" at the end.

        Raises, instead of returning the end, Refused (`still_writing`) if the file changed while it was read, and
        NotFound if it was deleted. So whoever has read to the end has the content of one unchanged file.
        """
        ...


class FileSource(Protocol):
    """Lists and reads files. Raises Unavailable (no response; retry later), Refused (authentication failed, or the
    server is not the one that the project names)."""

    def list(self) -> tuple[RemoteFile, ...]:
        """List the files, oldest first. Skips dotfiles, `.part`, `.tmp`, folders and links."""
        ...

    def stat(self, name: str) -> RemoteFile:
        """Return the attributes of one file. Raises NotFound."""
        ...

    def open(self, name: str) -> AbstractContextManager[FileStream]:
        """Open a file for reading, in bounded memory.

        Raises NotFound if it does not exist; Refused with an `inconclusive` verdict: `still_writing` if it may still be
        being written, `too_large` if it has more than `max_bytes`, `unreadable_file` if the source does not give it.
        """
        ...


class SourceContext(NamedTuple):
    """What a kind of source gets to open one source. root: of the project. credentials: its secret, by key."""

    name: str
    settings: SourceSettings
    root: Path
    credentials: Mapping[str, str]
    clock: Clock


class SecretKey(NamedTuple):
    """One key of a source's credentials. multiline: it cannot be typed at a prompt."""

    name: str
    required: bool = True
    multiline: bool = False


class SourceProblem(NamedTuple):
    """A fault of a source that `wellspring doctor` reports, and its repair."""

    what: str
    fix: str


def _find_no_problems(_settings: SourceSettings, _root: Path) -> Iterable[SourceProblem]:
    return ()


@dataclass(frozen=True, kw_only=True)
class SourceKind(SettingsKind):
    """A kind of source, as its package registers it under the entry point group `wellspring.sources`.

    packages: modules that `open` imports. install: the command that installs them. secret_keys: of its credentials.
    template: its table in the wellspring.toml of a new project, without the header.
    find_problems: checks that need no server and no secret; root: of the project.
    """

    open: Callable[[SourceContext], FileSource]
    packages: tuple[str, ...] = ()
    install: str = ""
    secret_keys: tuple[SecretKey, ...] = ()
    template: str = ""
    find_problems: Callable[[SourceSettings, Path], Iterable[SourceProblem]] = _find_no_problems


def judge_age(modified: datetime, now: datetime, settle_seconds: float) -> tuple[bool, int]:
    """Return whether a file was modified less than `settle_seconds` ago, and how many seconds it is dated ahead."""
    age = (now - modified).total_seconds()
    return 0 <= age < settle_seconds, max(0, math.ceil(-age))


def is_ignored(name: str) -> bool:
    """Return whether a name is a plain dotfile or has the suffix of an unfinished file.

    An unsafe name (see `is_unsafe`) is not ignored, so that it becomes a finding and does not vanish.
    """
    return not is_unsafe(name) and (name.startswith(".") or name.lower().endswith(_UNFINISHED_SUFFIXES))


def is_unsafe(name: str) -> bool:
    """Return whether a name has control characters, a backslash, or a part that is empty, `.` or begins with `..`."""
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in name):
        return True
    return "\\" in name or any(part in {"", "."} or part.startswith("..") for part in name.split("/"))


def compile_glob(glob: str) -> re.Pattern[str]:
    """Compile a glob for file names: `*`, `?`, `[abc]` and `[!abc]` do not match a slash, `**` matches any text, `**/`
    also none."""
    parts = [_GLOB_MARKS.get(token) or _compile_class(token) for token in _GLOB_TOKEN.findall(glob)]
    return re.compile("".join(parts), re.DOTALL)


def _compile_class(token: str) -> str:
    """Compile a token of a glob that is a class of characters or plain text."""
    if len(token) == 1 or not token.startswith("["):
        return re.escape(token)
    excluded = token[1] == "!"
    characters = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2:-1] if excluded else token[1:-1])
    return f"(?!/)[{'^' if excluded else ''}{characters}]"


def file_not_found(source: str, name: str) -> NotFound:
    """Return the error for a name that a source does not have."""
    return NotFound(f"source {source!r} has no file {name!r}", fix="list the source again")


def file_still_writing(source: str, name: str) -> Refused:
    """Return the error for a file that changed while it was read, or may still be being written."""
    return Refused.because(
        f"source:{source}",
        "still_writing",
        "it changed during the read, or just before",
        what=f"{name!r} of source {source!r} is still being written",
        fix="try again when the vendor has finished it",
        outcome="inconclusive",
    )


def file_unreadable(source: str, name: str, what: str, *, fix: str) -> Refused:
    """Return the error for a file that its source has and does not give; the other files may be readable."""
    return Refused.because(
        f"source:{source}",
        "unreadable_file",
        what,
        what=f"{name!r} cannot be read: {what}",
        fix=fix,
        outcome="inconclusive",
    )


def check_size(source: str, name: str, size: int, *, max_bytes: int) -> None:
    """Raise Refused (`too_large`) for a file that has more bytes than its source allows."""
    if size <= max_bytes:
        return
    message = f"it has {size:,} bytes, more than the limit of {max_bytes:,} (max_bytes of [sources.{source}])"
    raise Refused.because(
        f"source:{source}",
        "too_large",
        message,
        what=f"{name!r} of source {source!r} is too large: {message}",
        fix="ask the vendor for smaller files, or raise the limit if this machine has the memory to parse such a file",
        outcome="inconclusive",
    )
