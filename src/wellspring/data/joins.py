"""What was known then: for each row of a spine, the newest row of each view that was known at the row's own instant.

Knowledge is ordered by (known_since, sequence). A row that became known later, such as a correction of an old fact, is
never seen; two rows of one thing with equal knowledge would make the answer a matter of luck, so they are an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from wellspring.data.features import KNOWN, SEQUENCE
from wellspring.errors import Broken, ProjectError
from wellspring.project import nearest
from wellspring.records.data import FeatureRow, View

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.stores.tables.port import Tables

Given = Mapping[str, "pa.Table | Sequence[str]"]
"""By name of the table: an Arrow table, or the Parquet files of one."""
_CAST = {"int64": "bigint", "float64": "double", "bool": "boolean", "string": "varchar"}


def column(view: str, feature: str) -> str:
    """Name a joined column: `member_history__denials_90d`."""
    return f"{view}__{feature}"


def as_known(
    spine: pa.Table, views: Sequence[View], tables: Given, *, at: str = "event_at", engine: Tables | None = None
) -> pa.Table:
    """Join to each row of a spine what was known at its own instant; the spine's rows and their order stay.

    spine: the keys of every view, and the column `at` (timestamp, UTC). tables: of each view, by name.
    Adds for each view its features as VIEW__FEATURE, and VIEW__known_since and VIEW__sequence, null where nothing was
    known. Raises ProjectError for a column that the spine lacks or has already, Broken for rows whose order is unclear.
    """
    import pyarrow as pa

    _fits(spine, views, at)
    engine = engine or _engine()
    place = _free("place", spine.column_names)
    asked: dict[str, pa.Table | Sequence[str]] = {
        "spine": pa.table(
            {
                place: pa.array(range(spine.num_rows), pa.int64()),
                **{key: spine[key] for key in _keys(views)},
                # Microseconds since 1970: an instant is compared as a number, whatever zone the engine lives in.
                "at_": spine[at].cast(pa.timestamp("us", "UTC")).cast(pa.int64()),
            }
        )
    }
    joined, shown = "", []
    for number, view in enumerate(views):
        _refuse_ties(view, tables[view.table], engine)
        asked[f"t{number}"] = tables[view.table]
        same = " and ".join(f's."{key}" = v{number}."{key}"' for key in view.keys)
        joined += f"\nasof left join ({_newest_at_each_instant(view, f't{number}')}) v{number}"
        joined += f"\n  on {same} and s.at_ >= v{number}.at_"
        shown += [f'v{number}."{each.name}" as "{column(view.name, each.name)}"' for each in view.features]
        shown += [f'v{number}.at_ as "{column(view.name, KNOWN)}"']
        shown += [f'v{number}."{SEQUENCE}" as "{column(view.name, SEQUENCE)}"']
    found = engine.query(f"select {', '.join(shown)} from spine s{joined} order by s.{place}", asked)  # noqa: S608
    for view in views:
        name = column(view.name, KNOWN)
        instants = found[name].cast(pa.timestamp("us", "UTC"))
        found = found.set_column(found.column_names.index(name), name, instants)
    for name in found.column_names:
        spine = spine.append_column(name, found[name])
    return spine


def newest(view: View, table: pa.Table | Sequence[str], *, engine: Tables | None = None) -> pa.Table:
    """Take the newest row of each thing: the view's keys, features, known_since and sequence, sorted by key.

    A row without a key is nobody's, and is left out. Raises Broken for rows whose order is unclear.
    """
    engine = engine or _engine()
    _refuse_ties(view, table, engine)
    keys = ", ".join(f'"{key}"' for key in view.keys)
    some = " and ".join(f'"{key}" is not null' for key in view.keys)
    sql = (
        f"select {keys}, {_features(view)}, {_instant()} as {KNOWN}, {SEQUENCE} from rows where {some} "  # noqa: S608
        f"qualify row_number() over (partition by {keys} order by {KNOWN} desc, {SEQUENCE} desc) = 1 order by {keys}"
    )
    return _dated(engine.query(sql, {"rows": table}))


def exactly(
    view: View,
    table: pa.Table | Sequence[str],
    wanted: Sequence[FeatureRow],
    *,
    engine: Tables | None = None,
) -> list[FeatureRow | None]:
    """Find again the rows that an answer rested on, by key, known_since and sequence; None for one that is not there.

    wanted: only their key, known_since and sequence are looked at. The values found are the table's.
    """
    import pyarrow as pa

    engine = engine or _engine()
    _refuse_ties(view, table, engine)
    instants = pa.array([each.known_since for each in wanted], pa.timestamp("us", "UTC"))
    asked = pa.table(
        {
            "place_": pa.array(range(len(wanted)), pa.int64()),
            "at_": instants.cast(pa.int64()),
            "sequence_": pa.array([each.sequence for each in wanted], pa.int64()),
            **{f"{name}_": pa.array([row.key[n] for row in wanted], pa.string()) for n, name in enumerate(view.keys)},
        }
    )
    same = " and ".join(f't."{key}" = w."{key}_"' for key in view.keys)
    sql = (
        f"select w.place_, {_features(view, 't')} from wanted w join rows t on {same} "  # noqa: S608
        f"and {_instant('t')} = w.at_ and t.{SEQUENCE} = w.sequence_"
    )
    found: list[FeatureRow | None] = [None] * len(wanted)
    for row in engine.query(sql, {"wanted": asked, "rows": table}).to_pylist():
        place = row.pop("place_")
        found[place] = wanted[place]._replace(values=row)
    return found


def _fits(spine: pa.Table, views: Sequence[View], at: str) -> None:
    for name in [at, *_keys(views)]:
        if name not in spine.column_names:
            raise ProjectError(
                f"the spine has no column {name!r}; {nearest(name, spine.column_names)}",
                fix="let the spine hold the key of every view, and the instant of each row",
            )
    added = [column(view.name, each) for view in views for each in (KNOWN, *(one.name for one in view.features))]
    if twice := sorted(set(added) & set(spine.column_names)):
        raise ProjectError(f"the spine has a column {twice[0]!r} already", fix="call the spine's column otherwise")


def _refuse_ties(view: View, table: pa.Table | Sequence[str], engine: Tables) -> None:
    """Refuse rows that no order tells apart: without an instant or a sequence, or with those of another row."""
    keys = ", ".join(f'"{key}"' for key in view.keys)
    some = " and ".join(f'"{key}" is not null' for key in view.keys)
    told = engine.query(
        f"select count(*) filter ({KNOWN} is null or {SEQUENCE} is null) as undated, count(*) as rows, "  # noqa: S608
        f"count(distinct ({keys}, {KNOWN}, {SEQUENCE})) as distinct_rows from rows where {some}",
        {"rows": table},
    ).to_pylist()[0]
    if told["undated"]:
        what = f"{told['undated']} rows of {view.table} do not say since when they are known, or in which sequence"
        raise Broken(what, fix=f"mend the dbt model {view.table}, and build again")
    if twice := told["rows"] - told["distinct_rows"]:
        what = f"{twice} rows of {view.table} are about the same thing, instant and sequence as another"
        raise Broken(
            what, fix=f"mend the dbt model {view.table}: {', '.join(view.keys)}, known_since, sequence is unique"
        )


def _newest_at_each_instant(view: View, table: str) -> str:
    """One row of a thing an instant: where two became known at once, the higher sequence is the newer knowledge."""
    keys = ", ".join(f'"{key}"' for key in view.keys)
    return (
        f"select {keys}, {_features(view)}, {_instant()} as at_, {SEQUENCE} from {table} "  # noqa: S608
        f"qualify row_number() over (partition by {keys}, {KNOWN} order by {SEQUENCE} desc) = 1"
    )


def _features(view: View, table: str = "") -> str:
    dot = f"{table}." if table else ""
    return ", ".join(f'cast({dot}"{each.name}" as {_CAST[each.type]}) as "{each.name}"' for each in view.features)


def _instant(table: str = "") -> str:
    return f"epoch_us({f'{table}.' if table else ''}{KNOWN})"


def _dated(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    instants = table[KNOWN].cast(pa.timestamp("us", "UTC"))
    return table.set_column(table.column_names.index(KNOWN), KNOWN, instants)


def _keys(views: Iterable[View]) -> list[str]:
    return list(dict.fromkeys(key for view in views for key in view.keys))


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _engine() -> Tables:
    from wellspring.stores.tables.duckdb import DuckTables

    return DuckTables()
