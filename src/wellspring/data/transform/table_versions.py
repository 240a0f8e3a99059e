"""The version of a built table: a digest of the normalized SQL of its dbt model and of all models that it reads.

A comment or another layout makes no new version. Hooks and operations of dbt can change any table, so a project that
has some gets new versions with each change of its code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from pydantic import Field

from wellspring.records.record import Digest, Frozen
from wellspring_verify import canonical

MAX_SQL_LENGTH = 2**20


class CompiledModel(Frozen):
    """One compiled dbt model. name: dbt's unique id; upstream: those of the models and sources that it reads.

    sql: '' for an ephemeral model, which dbt writes into the SQL of the models that read it.
    """

    name: str = Field(max_length=500)
    sql: str = Field(max_length=MAX_SQL_LENGTH)
    upstream: tuple[str, ...]


def compute_table_versions(
    models: Sequence[CompiledModel],
    tables: Mapping[str, str],
    normalize_sql: Callable[[str], str],
    *,
    hooks: Digest | None = None,
) -> dict[str, Digest]:
    """Return the version of each table. tables: the name of a table -> the name of its model.

    hooks: the digest of the project's code if it has hooks or operations.
    """
    models_by_name = {model.name: model for model in models}
    texts = {name: normalize_sql(model.sql) for name, model in models_by_name.items()}
    versions: dict[str, Digest] = {}
    for table, name in tables.items():
        closure = list_upstream(name, models_by_name)
        content = {"hooks": hooks or "", "models": {reached: texts.get(reached, "") for reached in closure}}
        versions[table] = hashlib.sha256(canonical.dumps_canonical(content)).hexdigest()
    return versions


def list_upstream(name: str, models: Mapping[str, CompiledModel]) -> list[str]:
    """List a model and everything that it reads, models and sources, sorted."""
    reached, waiting = set[str](), [name]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += models[current].upstream if current in models else ()
    return sorted(reached)
