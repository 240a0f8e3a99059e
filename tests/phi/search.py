"""Search files for planted personal data: opens every container and decodes every encoding.

    hits = search([project / ".wellspring"], people, exclude=[project / ".wellspring/enclave"])

A hit names the location and the field, never the value. A container that cannot be opened is a hit too, because its
content was not searched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.phi.containers import Unopened, is_container, opened_files, strings
from tests.phi.decoding import decoded
from tests.phi.needles import Person, needles, strip

DEEPEST = 5
"""Maximum nesting depth: base64 in JSON in gzip in a column of Parquet is four."""

__all__ = ["Hit", "Person", "search", "search_bytes", "search_processes"]


class Hit(NamedTuple):
    """path: the file or its label. inside: the path into nested containers. person: index, -1 for a container
    that could not be opened. what: the field."""

    path: str
    inside: str
    person: int
    what: str


def search(roots: list[Path], people: list[Person], *, exclude: Iterable[Path] = ()) -> list[Hit]:
    """Search all files below `roots`, and their names. exclude: folders and files to skip.

    Raises PermissionError for a file that may not be read.
    """
    search_terms, excluded = needles(people), {path.absolute() for path in exclude}
    return [hit for root in roots for path in _files(root.absolute(), excluded) for hit in _file(path, search_terms)]


def search_bytes(name: str, content: bytes, people: list[Person]) -> list[Hit]:
    """Search bytes, such as the output of a command."""
    return _distinct(_look(content, name, "", needles(people), None, DEEPEST))


def search_processes(pids: Iterable[int], people: list[Person]) -> list[Hit]:
    """Search the arguments and environments of running processes; one that has ended meanwhile tells nothing."""
    hits: list[Hit] = []
    for pid in pids:
        for part in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{pid}/{part}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # Zero bytes part the arguments; kept, they would be taken for UTF-16 and joined.
            hits += search_bytes(f"/proc/{pid}/{part}", content.replace(b"\0", b"\n"), people)
    return hits


def _files(root: Path, left_out: set[Path]) -> Iterator[Path]:
    if root in left_out:
        return
    try:
        mode = root.lstat().st_mode
    except FileNotFoundError:
        # Running servers replace files.
        return
    if stat.S_ISREG(mode):
        yield root
    elif stat.S_ISDIR(mode):
        for child in sorted(root.iterdir()):
            yield from _files(child, left_out)


def _file(path: Path, expected_result: list[tuple[bytes, int, str]]) -> list[Hit]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    hits = list(_match(os.fsencode(path), str(path), "name", expected_result))
    return _distinct([*hits, *_look(content, str(path), "", expected_result, path, DEEPEST)])


def _look(
    hay: bytes, path: str, inside: str, expected_result: list[tuple[bytes, int, str]], beside: Path | None, deep: int
) -> Iterator[Hit]:
    yield from _match(hay, path, inside, expected_result)
    if deep == 0 or len(hay) < 8:
        return
    try:
        for part, content in opened_files(hay, beside):
            yield from _look(content, path, f"{inside}/{part}", expected_result, None, deep - 1)
    except Unopened as exc:
        yield Hit(path, inside, -1, f"cannot be opened: {exc}")
    if text := "\n".join(strings(hay)).encode("utf-8", "replace"):
        # Without what JSON did to the text, so that an encoding inside it stands whole.
        yield from _look(text, path, f"{inside}/json", expected_result, None, deep - 1)
    for mode, pieces in decoded(hay):
        # The empty line keeps the first piece from being taken for a container with rubbish after it.
        yield from _look(b"\n".join([b"", *pieces]), path, f"{inside}/{mode}", expected_result, None, deep - 1)
        for piece in filter(is_container, pieces):
            yield from _look(piece, path, f"{inside}/{mode}", expected_result, None, deep - 1)


def _match(hay: bytes, path: str, inside: str, expected_result: list[tuple[bytes, int, str]]) -> Iterator[Hit]:
    stripped = strip(hay)
    for needle, person, what in expected_result:
        if needle in stripped:
            yield Hit(path, inside, person, what)


def _distinct(hits: Iterable[Hit]) -> list[Hit]:
    """Keep one hit for each file, person and field: the shallowest way in."""
    best: dict[tuple[str, int, str], Hit] = {}
    for hit in hits:
        key = (hit.path, hit.person, hit.what)
        if key not in best or hit.inside.count("/") < best[key].inside.count("/"):
            best[key] = hit
    return list(best.values())
