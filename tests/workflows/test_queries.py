"""Queries read what the workflows wrote, in the order in which it was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from tests.builders import synthetic_world
from tests.builders.entry_index import Index
from tests.builders.journal_keys import journal_key
from tests.builders.recording_step import FixedClock, RecordingStep
from wellspring.bootstrap import LedgerAccess, open_ledger
from wellspring.data.intake.drop_index import DropIndex
from wellspring.errors import NotFound
from wellspring.models.releases import candidates
from wellspring.models.releases.store import ReleaseStore
from wellspring.project import load_project
from wellspring.records.ingestion import RowAccount
from wellspring.workflows import queries


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerAccess]:
    (tmp_path / "wellspring.toml").write_text(
        '[project]\nname = "tests"\ntenant = "acme"\n[sources.vendor]\nkind = "sftp"\n[models]\n'
    )
    project = load_project(tmp_path)
    for folder in (project.journals_dir, project.ledger_dir, project.lake_dir, tmp_path / "models"):
        folder.mkdir(parents=True)
    with open_ledger(project, journal_key("worker"), clock=FixedClock()) as access:
        yield access


def test_a_candidate_is_summarized_with_its_gate(ledger: LedgerAccess):
    candidate = synthetic_world.candidate()
    candidates.save_candidate(candidate, paths=ReleaseStore(ledger.project.models_dir).paths)
    step = RecordingStep()
    index: Any = Index(step)
    for live, expected in (("another", False), ("", True)):
        with step("gate", candidate.subject, facts={"live": live}):
            pass
        access = cast(Any, SimpleNamespace(project=ledger.project, index=index))
        (summary,) = queries.list_candidate_summaries(access)
        assert (summary.model, summary.id, summary.outcome) == (candidate.model, candidate.id, "pass")
        assert summary.evaluated_against_live == expected


def test_an_unknown_model_has_no_history(ledger: LedgerAccess):
    (ledger.project.root / "models" / "denials.py").touch()
    assert queries.list_model_history(ledger, "denials") == []
    with pytest.raises(NotFound, match="no model 'denails'") as result:
        queries.list_model_history(ledger, "denails")
    assert result.value.fix == "did you mean 'denials'?"


def test_enrolled_users_are_sorted_and_listed_once():
    step = RecordingStep()
    for name in ("bo", "ana", "bo"):
        with step("enroll", f"user:{name}"):
            pass
    index: Any = Index(step)
    assert queries.list_enrolled_users(index) == ["ana", "bo"]


def test_row_accounts_are_listed_in_landing_order():
    step = RecordingStep()
    for drop in ("d2", "d1"):
        with step("land", f"drop:{drop}"):
            pass
    facts: Any = {"replay_number": 0, "outcome": "pass", "received": 5, "admitted": 4, "quarantined": 1}
    with step("admit", "drop:d1", facts=facts):
        pass
    index: Any = Index(step)
    published = {"d2": 0, "d1": 3}
    platform: Any = SimpleNamespace(
        drops=DropIndex(None, index),
        lake=SimpleNamespace(
            index_parts=lambda: SimpleNamespace(
                count_drop_rows=lambda drop: SimpleNamespace(published=published[drop]), count_published_rows=lambda: 3
            )
        ),
    )
    summary = queries.list_row_accounts(platform)
    account = RowAccount(received=5, published=3, quarantined=1, waiting=1)
    assert list(summary.accounts.items()) == [("drop:d2", RowAccount()), ("drop:d1", account)]
    assert (summary.total, summary.drops) == (account, 2)
    assert list(queries.list_row_accounts(platform, limit=1).accounts) == ["drop:d1"]


def test_latest_keys_need_a_live_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queries, "latest_built_edition", lambda _: None)
    platform: Any = SimpleNamespace(project=SimpleNamespace(models_dir=tmp_path))
    with pytest.raises(NotFound, match="no live release"):
        queries.find_latest_keys(platform, cast(Any, None), "denials", count=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, None, 1], {"distinct": 2, "is_zero_or_one": True}),
        ([0, 2, None], {"distinct": 2, "is_zero_or_one": False}),
        ([None], {"distinct": 0, "is_zero_or_one": False}),
        (["a", "b", "a"], {"distinct": 2, "is_zero_or_one": False}),
    ],
)
def test_label_values_are_counted_and_not_returned(values: list[Any], expected: dict[str, int | bool]):
    table = pa.table({"outcome": values})
    edition = SimpleNamespace(tables=(SimpleNamespace(table="orders"),))
    lake = SimpleNamespace(
        get_edition=lambda: edition, open_table=lambda *_: table, read_table=lambda _, __, names: table.select(names)
    )
    platform: Any = SimpleNamespace(lake=lake)
    assert queries.summarize_label_values(platform, "orders", "outcome") == expected
    with pytest.raises(NotFound, match="no table 'order'"):
        queries.summarize_label_values(platform, "order", "outcome")
    with pytest.raises(NotFound, match="no column 'outcom'"):
        queries.summarize_label_values(platform, "orders", "outcom")
