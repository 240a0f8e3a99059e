"""Query text and the place of stored tables stay inside adapters: no SQL and no Parquet path crosses a port."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import repository

SQL = re.compile(
    r"\bselect\b.+\b(from|filter|over)\b|\basof (left )?join\b|\b(inner|left|full|cross) join\b|\bqualify\b"
    r"|\b(group|order|partition) by\b|\binsert (or \w+ )?into\b|\bdelete from\b|\bupdate \w+ set\b"
    r"|\b(create|drop|alter) (or replace )?(unique )?(table|view|schema|index|role|database)\b|\bcopy \("
    r"|\bgrant (select|insert|usage|all)\b|\bread_parquet\(|\btimestamptz '",
    re.IGNORECASE | re.DOTALL,
)
"""Statements and clauses; a word alone, as in `select a column`, is prose."""
SQL_ADAPTERS = {
    "wellspring/trust/vault/postgres.py": "the PostgreSQL adapter of the vault",
    "wellspring/trust/vault/postgres_outbox.py": "the outbox of that adapter",
    "wellspring/trust/vault/postgres_decisions.py": "the decisions about drops of that adapter",
    "wellspring/trust/vault/postgres_people.py": "the person rows of that adapter",
    "wellspring/trust/vault/postgres_schema.py": "the tables of that adapter",
    "wellspring/trust/ledger/index.py": "the SQLite index of the ledger",
    "wellspring/trust/ledger/index_rows.py": "the tables of that index",
    "wellspring/data/intake/drop_index.py": "the SQLite index of the drops",
    "wellspring/lake/part_index.py": "the SQLite index of the parts of the lake",
    "wellspring/stores/queue/sqlite.py": "the SQLite adapter of the queue of jobs",
    "wellspring/stores/locks/postgres.py": "the PostgreSQL adapter of the locks of resources",
    "wellspring/embedded/postgres.py": "starts PostgreSQL and creates its roles",
}
"""Files outside the folder of an adapter that hold SQL, and why."""
STORAGE_ADAPTERS = {
    "wellspring/lake/key_lookup.py": "keys of one lookup, in a file that the engine spills beside",
    "wellspring/records/tables.py": "defines the stored table that both adapters exchange",
    "wellspring/stable.py": "publishes it for adapters of other packages",
    "wellspring/data/formats/parquet.py": "reads a supplier's file, which is not a table of the lake",
}
"""Files outside the folder of an adapter that open Parquet files or know where a stored table is, and why."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """List the string literals of a file with their lines, f-strings joined, without docstrings."""
    tree = repository.tree(path)
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if isinstance(part, ast.Constant)}
            parts = [str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documentation | inside:
                yield node.lineno, node.value


def sql_places(path: Path) -> list[str]:
    """List the string literals of a file that are SQL."""
    return [f"{repository.named(path)}:{line}: {text[:60]!r}" for line, text in texts(path) if SQL.search(text)]


def storage_places(path: Path) -> list[str]:
    """List the places where a file opens Parquet files or uses the files of a stored table."""
    problems: list[str] = []
    for node in ast.walk(repository.tree(path)):
        match node:
            case ast.Import(names=names) if any(name.name == "pyarrow.parquet" for name in names):
                problems.append(f"{repository.named(path)}:{node.lineno}: imports pyarrow.parquet")
            case ast.ImportFrom(module="wellspring.records.tables", names=names):
                if any(name.name == "ParquetTable" for name in names):
                    problems.append(f"{repository.named(path)}:{node.lineno}: imports ParquetTable")
            case _:
                continue
    return problems


def is_adapter(path: Path) -> bool:
    """Tell whether a file is in the folder of an adapter: `query/duckdb/`, beside `query/port.py`."""
    return path.name != "port.py" and (path.parent.parent / "port.py").is_file()


def is_allowed(path: Path, places: dict[str, str]) -> bool:
    return is_adapter(path) or path.relative_to(repository.SRC).as_posix() in places


def test_sql_is_written_in_adapters_only():
    paths = [path for path in repository.sources("wellspring") if not is_allowed(path, SQL_ADAPTERS)]
    assert [place for path in paths for place in sql_places(path)] == []


def test_stored_tables_are_opened_in_adapters_only():
    paths = [path for path in repository.sources("wellspring") if not is_allowed(path, STORAGE_ADAPTERS)]
    assert [place for path in paths for place in storage_places(path)] == []


@pytest.mark.parametrize(("places", "listed"), [(SQL_ADAPTERS, sql_places), (STORAGE_ADAPTERS, storage_places)])
def test_each_exemption_is_still_needed(places: dict[str, str], listed: object):
    assert callable(listed)
    for place in places:
        path = repository.SRC / place
        assert listed(path), f"{place} needs no exemption: take it off the list"
        assert not is_adapter(path), f"{place} is in the folder of an adapter: take it off the list"


def test_adapters_are_found_by_their_port():
    assert is_adapter(repository.SRC / "wellspring/query/duckdb/statements.py")
    assert is_adapter(repository.SRC / "wellspring/lake/iceberg/table.py")
    assert not is_adapter(repository.SRC / "wellspring/lake/lake.py")
    assert not is_adapter(repository.SRC / "wellspring/data/features/point_in_time.py")


@pytest.mark.parametrize(
    "text", ["select a from b", "x order by y", "create table z", "SELECT count(*) FROM x", "insert into a values (1)"]
)
def test_a_statement_would_be_seen(text: str):
    assert SQL.search(text)


@pytest.mark.parametrize(
    "text", ["select a column", "sorted by key", "order the drops by name", "drop the table's rows"]
)
def test_plain_text_passes(text: str):
    assert not SQL.search(text)
