"""The rows of the index: in the order of the tree, each entry once, and emptied for another version of the tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.builders.answers import write_answers
from tests.builders.ledger import Ledger
from wellspring.errors import CorruptedError
from wellspring.records.trust import Entry
from wellspring.trust.ledger.index_rows import (
    LINES_COUNT,
    SIZE_COUNT,
    create_tables,
    describe_entry,
    insert_contents,
    insert_rows,
    parse_entry,
    read_count,
    service_count,
)
from wellspring.trust.ledger.journal import encode_entry


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    ledger = Ledger(tmp_path)
    return [*ledger.write(2), *write_answers(ledger, 2)]


@pytest.fixture
def file() -> sqlite3.Connection:
    file = sqlite3.connect(":memory:")
    create_tables(file)
    return file


def test_whole_entries_and_subjects_of_lines_are_found(file: sqlite3.Connection, entries: list[Entry]):
    insert_rows(file, 0, [describe_entry(entry, encode_entry(entry)) for entry in entries])
    assert [row[0] for row in file.execute("select id from entries")] == ["worker:0", "worker:1"]
    assert [row[0] for row in file.execute("select tree_index from lines order by tree_index")] == [2, 3]
    assert [read_count(file, name) for name in (SIZE_COUNT, LINES_COUNT, service_count("api"))] == [4, 4, 2]


def test_what_comes_from_the_tree_has_no_subjects_of_lines(file: sqlite3.Connection, entries: list[Entry]):
    rows = [describe_entry(entry, encode_entry(entry)) for entry in entries]
    insert_contents(file, 0, [row.leaf for row in rows])
    assert [read_count(file, name) for name in (SIZE_COUNT, LINES_COUNT, service_count("api"))] == [4, 0, 2]
    # An older log has the whole line.
    later = [*rows[:2], *(row._replace(leaf=row.content) for row in rows[2:])]
    create_tables(file)
    insert_contents(file, 0, [row.leaf for row in later])
    assert file.execute("select count(*) from entries").fetchone() == (4,)


def test_an_entry_that_comes_again_is_an_error(file: sqlite3.Connection, entries: list[Entry]):
    rows = [describe_entry(entry, encode_entry(entry)) for entry in entries]
    insert_rows(file, 0, rows)
    for row in (rows[0], rows[3]):
        with pytest.raises(sqlite3.IntegrityError):
            insert_rows(file, 4, [row])
    with pytest.raises(sqlite3.IntegrityError):
        insert_contents(file, 4, [rows[2].leaf])


def test_bytes_of_another_kind_are_an_error():
    with pytest.raises(CorruptedError):
        parse_entry(b"{}")
