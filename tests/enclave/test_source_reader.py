"""Reading a file of a source: its progress, and the findings of a file that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from wellspring.data.sources.port import RemoteFile, check_size, file_not_found, file_still_writing
from wellspring.enclave.source_reader import open_file
from wellspring.errors import NotFound, Refused, WellspringError

FILE = RemoteFile("a.csv", 5, datetime(2026, 11, 25, tzinfo=UTC), False, "v1")


class Findings:
    """Collects findings by code."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def record_finding(self, code: str, source: str, name: str, message: str, *, version: str) -> None:
        assert version == "v"
        self.codes.append(code)

    def record_refused_file(self, source: str, name: str, refused: Refused, *, version: str) -> None:
        assert version == "v"
        self.codes += [reason.code for reason in refused.verdict.reasons] if refused.verdict else []


class ScriptedSource:
    """A source with one file. blocks: bytes, or the error that a read raises."""

    def __init__(self, *blocks: bytes | WellspringError, opening: WellspringError | None = None) -> None:
        self.file = FILE
        self.blocks = list(blocks)
        self.opening = opening

    @contextmanager
    def open(self, name: str) -> Iterator[ScriptedSource]:
        if self.opening is not None:
            raise self.opening
        yield self

    def read(self, size: int, /) -> bytes:
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, WellspringError):
            raise block
        return block


def read_all(source: Any, findings: Any, *, settled: bool = True) -> tuple[bytes, list[tuple[str, int, int]]]:
    reported: list[tuple[str, int, int]] = []
    with open_file(
        "inbox",
        "a.csv",
        source,
        version="v",
        is_settled=lambda file: settled and file == FILE,
        findings=findings,
        report_progress=lambda *report: reported.append(report),
    ) as reader:
        assert reader.file == FILE
        return b"".join(iter(lambda: reader.read(3), b"")), reported


def test_each_read_is_reported():
    findings = Findings()
    assert read_all(ScriptedSource(b"abc", b"de"), findings) == (b"abcde", [("fetch", 3, 5), ("fetch", 5, 5)])
    assert findings.codes == []


def test_a_file_deleted_during_the_read_is_a_finding():
    findings = Findings()
    with pytest.raises(NotFound):
        read_all(ScriptedSource(b"abc", file_not_found("inbox", "a.csv")), findings)
    assert findings.codes == ["deleted_while_read"]


def test_a_file_that_was_never_there_is_not_a_finding():
    findings = Findings()
    with pytest.raises(NotFound):
        read_all(ScriptedSource(opening=file_not_found("inbox", "a.csv")), findings)
    assert findings.codes == []


def test_a_file_that_is_too_large_is_a_finding():
    findings = Findings()
    with pytest.raises(Refused) as refused:
        check_size("inbox", "a.csv", 5 << 30, max_bytes=2 << 30)
    with pytest.raises(Refused):
        read_all(ScriptedSource(opening=refused.value), findings)
    assert findings.codes == ["too_large"]


def test_a_file_that_changes_during_the_read_is_refused():
    with pytest.raises(Refused, match="still being written"):
        read_all(ScriptedSource(b"abc", file_still_writing("inbox", "a.csv")), Findings())


def test_a_file_that_is_not_settled_is_refused_before_it_is_read():
    source = ScriptedSource(b"abc")
    with pytest.raises(Refused, match="still being written"):
        read_all(source, Findings(), settled=False)
    assert source.blocks == [b"abc"]
