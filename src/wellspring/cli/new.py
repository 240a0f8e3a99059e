"""new project | contract | model: drafts that run as they are, for a person to read and to mend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import click

from wellspring.cli.door import Door, WellspringGroup
from wellspring.cli.show import table
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import FILE, Project, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from wellspring.records.data import Column, Contract

TEMPLATES = Path(__file__).parents[1] / "templates"
END = ".tmpl"
"""The end of a template's name: none of them is a module, a policy or SQL of the house's own."""
_IDENTITY = re.compile(r"(^|_)(id|uuid|guid|no|nr|num|number|key|ref|account|code_id)$")
_PRIVATE = re.compile(
    r"(^|_)(.*name|street|address|city|phone|mobile|tel|fax|e?mail|zip|postcode|postal.*|ssn|birth.*|dob|iban|passport)"
    r"($|_)"
)
_FREE = re.compile(r"(^|_)(notes?|comments?|remarks?|message|text|description)$")
_MONEY = re.compile(r"amount|price|cost|total|paid|fee|charge|revenue")
_LONG = 40
_MANY = 200
"""A column of more distinct texts than this, most rows having their own, is no list of categories."""


class Guess(NamedTuple):
    """What a draft says of one column, and why. leaves: as in a contract; domain: of a token."""

    name: str
    type: str
    leaves: str
    classification: str
    why: str
    domain: str = ""


@click.group(cls=WellspringGroup)
def new() -> None:
    """Begin something: a project, a contract drafted from a CSV file, a model of a table."""


@new.command("project")
@click.argument("name")
@click.pass_obj
def project(door: Door, name: str) -> int:
    """Lay out a project in a new folder NAME (or in --project FOLDER), whose own tests pass as they are."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name):
        raise click.UsageError("a project's name is 2 to 40 lower-case letters, digits and _, and begins with a letter")
    folder = (door.folder or Path(name)).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} holds something already", fix="name a new folder, or an empty one")
    values = {"name": name, "tenant": name.replace("_", "-").rstrip("-")}
    files = {}
    for path in sorted((TEMPLATES / "project").rglob(f"*{END}")):
        place = path.relative_to(TEMPLATES / "project").as_posix().removesuffix(END).replace("dot-", ".")
        files[folder / place] = Template(path.read_text(encoding="utf-8")).substitute(values)
    write(files)
    for empty in ("contracts", "models", "dbt/models", "dbt/tests"):
        (folder / empty).mkdir(parents=True, exist_ok=True)
    door.say(f"project {name} in {folder}: {len(files)} files; its people are ann (author) and bob (approver)")
    door.answer(
        {"project": name, "folder": str(folder), "files": sorted(map(str, files))},
        next_command=f"cd {folder.name} && wellspring new contract ../FILE.csv",
    )
    return 0


@new.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", "called", help="What the table is called; else as the file.")
@click.pass_obj
def contract(door: Door, file: Path, called: str | None) -> int:
    """Draft a contract from the header and the values of a CSV FILE; all that is guessed is told, for you to mend.

    No value of the file is shown or kept. What looks like an identity leaves as a token, what looks personal never.
    """
    here = door.project()
    name = called or re.sub(r"[^a-z0-9]+", "_", re.sub(r"[-_. ]*[0-9][-_.0-9]*$", "", file.stem.lower())).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise click.UsageError(f"{file.name} gives no name for a table; say one with --name")
    rows = _read(file)
    guesses = [_guess(each, rows.column(each)) for each in rows.column_names]
    key = _key(rows, guesses)
    glob = f"{file.stem.rstrip('0123456789-_.')}*.csv"
    path = here.contracts / f"{name}.odcs.yaml"
    source = next(iter(here.sources))
    owner = f"owner@{here.name.replace('_', '-')}.example"
    write({path: _page(name, source, glob, owner, guesses, key)})
    try:
        _contract(here, name)
    except ProjectError:
        path.unlink()
        raise
    door.say(f"a draft of {path}, guessed from {rows.num_rows:,} rows; read it and mend it:")
    shown = [(each.name, each.type, each.leaves + (f" ({each.domain})" if each.domain else ""), each.why)
             for each in guesses]  # fmt: skip
    door.say(table(("column", "type", "leaves", "because"), shown))
    door.say(f"key: {' + '.join(key) or 'none was found, so a row that comes twice is kept twice'}")
    door.say(f"files: {glob} of {source}; owner: {owner}, which is nobody yet; a column that is not named never leaves")
    document = {"contract": str(path), "files": glob, "key": list(key), "columns": [each._asdict() for each in guesses]}
    door.answer(document, next_command="wellspring up")
    return 0


@new.command()
@click.argument("name")
@click.option("--table", "landed", required=True, help="The table that a contract names.")
@click.option("--key", required=True, help="The column that says what is asked about; it leaves as a token.")
@click.option("--label", required=True, help="The column to foretell: yes or no, empty until it is known.")
@click.option("--known", required=True, help="The column that says when a row was known.")
@click.pass_obj
def model(door: Door, name: str, landed: str, key: str, label: str, known: str) -> int:
    """Write all that the model NAME needs: SQL with its tests, a view in features.py, models/NAME.py and a policy.

    It knows the table's own columns, and how often the outcome came before: of all, and of each other token.
    """
    here = door.project()
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > _LONG:
        raise click.UsageError("a model's name is lower-case words joined by single underscores")
    own = here.own
    if missing := sorted({"dbt", "features", "models"} - set(own)):
        raise ProjectError(f"{here.root / FILE} has no [{missing[0]}]", fix="add the section, or begin a new project")
    columns = {each.name: each for each in _contract(here, landed).columns}
    _fits(here, landed, columns, key, label, known)
    values = {"name": name, "table": landed, "key": key, "label": label, "known": known, "project": here.name}
    staged = own["dbt"] / "models" / "staging"
    marts = own["dbt"] / "models" / "marts"
    files = {
        marts / f"{name}_features.sql": "features.sql", marts / f"{name}_label.sql": "label.sql",
        marts / f"{name}.yml": "marts.yml", own["models"] / f"{name}.py": "model.py",
        own["policies"] / f"{name}.cedar": "policy.cedar",
    }  # fmt: skip
    # A second model of the same table stands on the same first step, which may be somebody's by now.
    if not (staged / f"stg_{landed}.sql").exists():
        files |= {staged / f"stg_{landed}.sql": "staging.sql", staged / f"{landed}.yml": "staging.yml"}
    values |= _words(name, columns, key, label, known)
    before = own["features"].read_text(encoding="utf-8") if own["features"].is_file() else ""
    if f"{name}_features" in before:
        raise Refused(f"{own['features']} has a view {name}_features already", fix="give the model another name")
    write({path: _filled(template, values) for path, template in files.items()})
    with own["features"].open("a", encoding="utf-8") as file:
        file.write(_filled("view.py", values))
    written = [path.relative_to(here.root).as_posix() for path in files]
    for each in written:
        door.say(f"  wrote {each}")
    door.say(f"  added the view {name}_features to {own['features'].relative_to(here.root)}")
    left = [each.name for each in columns.values() if each.leaves in ("never", "masked")]
    door.say(f"not learned from: {', '.join(left) or 'nothing'} (of its contract), and tokens but for their history")
    if known != "recorded_at":
        door.say("no column is called recorded_at, so the house cannot tell by itself what knew the future")
    door.answer({"model": name, "files": written}, next_command="wellspring transform")
    return 0


def write(files: Mapping[Path, str]) -> None:
    """Write new files, all or none. Raises Refused, before the first, when one of them is there already."""
    if there := [str(path) for path in files if path.exists()]:
        raise Refused(f"there already: {', '.join(there)}", fix="move it away, or choose another name")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)


# --- a contract -------------------------------------------------------------------------------------------------------


def _read(file: Path) -> pa.Table:
    """Read a CSV file as text, an empty field as null. Raises ProjectError for one that no contract can be of."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        with csv.open_csv(file) as start:
            names = start.schema.names
        types = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""],
            strings_can_be_null=True, quoted_strings_can_be_null=True,
        )  # fmt: skip
        rows = csv.read_csv(file, convert_options=types, parse_options=csv.ParseOptions(newlines_in_values=True))
    except pa.ArrowInvalid:
        # The reader's own words quote the row.
        raise ProjectError(f"{file} cannot be read as CSV", fix="save it as UTF-8, with commas and a header") from None
    bad = [
        number for number, each in enumerate(names, start=1) if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", each)
    ]
    if bad or len({each.casefold() for each in names}) < len(names):
        what = f"column {bad[0]} is" if bad else "two columns are"
        raise ProjectError(
            f"{file}: {what} not called as a column can be", fix="one header: letters, digits and _, each name once"
        )
    if not rows.num_rows:
        raise ProjectError(f"{file} has no rows", fix="take a file with rows, so that there is something to guess from")
    return rows


def _guess(name: str, values: pa.ChunkedArray) -> Guess:
    """Say what a column seems to be; in doubt it is protected."""
    from wellspring.trust import dlp

    said, low = values.drop_null(), name.casefold()
    kind, distinct = _type(said), len(said.unique())
    found = dlp.scan(said, context=name).counts if len(said) else {}
    domain = re.sub(r"_?(id|uuid|guid|no|nr|num|number|key|ref)$", "", re.sub(r"[^a-z0-9_]", "", low)).strip(
        "_0123456789"
    )
    token = Guess(name, "string", "token", "identifier", "its name is that of an identity", (domain or low)[:31])
    if found.keys() & {"birth_date"} or re.search(dlp.BIRTH, low):
        leaves = "year" if kind in ("date", "timestamp") else "never"
        return Guess(name, kind, leaves, "demographic", "it holds dates of birth")
    if _IDENTITY.search(low):
        return token
    if found:
        return Guess(name, kind, "never", "contact", f"values look like {', '.join(found)}")
    if _PRIVATE.search(low) or not len(said):
        why = "its name is that of personal data" if len(said) else "it is empty, so nothing is known of it"
        return Guess(name, kind, "never", "contact", why)
    if kind != "string":
        money = kind in ("number", "integer") and _MONEY.search(low)
        return Guess(name, kind, "as_is", "financial" if money else "operational", "every value reads as one")
    texts = [str(each) for each in said.unique().to_pylist()[:1000]]
    if _FREE.search(low) or max(map(len, texts)) > _LONG:
        return Guess(name, kind, "never", "free_text", "it is free text, where no name is found")
    if distinct > _MANY and distinct * 2 > len(said):
        if all(re.fullmatch(r"\S*[0-9]\S*", each) for each in texts):
            return token._replace(why="nearly every row has its own")
        return Guess(name, kind, "never", "free_text", "nearly every row has its own text")
    return Guess(name, kind, "as_is", "operational", f"{distinct} different texts")


def _type(said: pa.ChunkedArray) -> str:
    """Find the first type under which the house's own reader takes every value."""
    import pyarrow.compute as pc

    from wellspring.data import typed

    def every(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(said, pattern)).as_py())

    # 007 is a name; a 1 may be followed by a 2 one day.
    if not len(said) or every("^0[0-9]+$"):
        return "string"
    words = every("^[A-Za-z]+$")
    declared = {"date": "date32[day]", "timestamp": "timestamp[us, tz=UTC]"}
    declared |= {"boolean": "bool"} if words else {"integer": "int64", "number": "float64"}
    return next((name for name, each in declared.items() if not typed.read(said, each)[1].any()), "string")


def _key(rows: pa.Table, guesses: Sequence[Guess]) -> tuple[str, ...]:
    """Find the first token that tells rows apart, alone or with an instant."""
    tokens = [each.name for each in guesses if each.leaves == "token"]
    instants = [each.name for each in guesses if each.type in ("timestamp", "date") and each.leaves == "as_is"]
    for chosen in [*((each,) for each in tokens), *((each, when) for each in tokens for when in reversed(instants))]:
        whole = all(not rows.column(each).null_count for each in chosen)
        if whole and rows.group_by(list(chosen)).aggregate([]).num_rows == rows.num_rows:
            return chosen
    return ()


def _page(name: str, source: str, glob: str, owner: str, guesses: Sequence[Guess], key: tuple[str, ...]) -> str:
    lines = [
        f"# A draft by `wellspring new contract`: all of it was guessed from one file. Docs: docs/bad-input.md.\n"
        f"apiVersion: v3.1.0\nkind: DataContract\nid: {name}\nname: {name}\nversion: 1.0.0\nstatus: active\nteam:\n"
        f"  - {{ username: {owner}, role: owner }}\ncustomProperties:\n  - {{ property: source, value: {source} }}\n"
        f'  - {{ property: files, value: "{glob}" }}\n  - {{ property: format, value: csv }}\n'
        f"schema:\n  - name: {name}\n    properties:"
    ]
    for each in guesses:
        lines += [f'      - name: "{each.name}"', f"        logicalType: {each.type}"]
        if each.name in key:
            lines += [
                "        required: true", "        primaryKey: true",
                f"        primaryKeyPosition: {key.index(each.name) + 1}",
            ]  # fmt: skip
        lines.append(f"        classification: {each.classification}")
        domain = f", {{ property: domain, value: {each.domain} }}" if each.domain else ""
        lines.append(f"        customProperties: [{{ property: leaves, value: {each.leaves} }}{domain}]")
    return "\n".join(lines) + "\n"


def _contract(here: Project, name: str) -> Contract:
    """Read one of the project's contracts. Raises NotFound with the nearest name, ProjectError."""
    from wellspring.data import contract as contracts
    from wellspring.records.clock import SystemClock

    path = here.contracts / f"{name}.odcs.yaml"
    if not path.is_file():
        known = [each.name.removesuffix(".odcs.yaml") for each in here.contracts.glob(contracts.PATTERN)]
        raise NotFound(f"no contract {name!r} in {here.contracts}", fix=nearest(name, known))
    return contracts.load(path, tenant=here.tenant, known_since=SystemClock().now())


# --- a model ----------------------------------------------------------------------------------------------------------


def _fits(here: Project, landed: str, columns: Mapping[str, Column], key: str, label: str, known: str) -> None:
    """Hold what was asked for against the contract. Raises NotFound, ProjectError."""
    for each in (key, label, known):
        if each not in columns:
            raise NotFound(f"the contract {landed} has no column {each!r}", fix=nearest(each, list(columns)))
    problems = []
    if columns[key].leaves != "token":
        problems.append(f"{key} leaves as {columns[key].leaves}, and what is asked about is a token")
    if columns[label].leaves != "as_is" or columns[label].type not in ("bool", "int64"):
        problems.append(
            f"{label} is {columns[label].type} and leaves as {columns[label].leaves}; it is yes or no, as_is"
        )
    if columns[known].leaves != "as_is" or not columns[known].type.startswith(("timestamp", "date")):
        problems.append(f"{known} is no instant that leaves as it is")
    named = [each.name for each in columns.values() if each.leaves != "never"]
    problems += [f"{each} is no name for a feature" for each in named
                 if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", each)]  # fmt: skip
    if problems:
        raise ProjectError(
            "\n".join(problems), fix=f"edit {here.contracts / landed}.odcs.yaml, or choose another column"
        )


class _Feature(NamedTuple):
    """A column of the feature table. how: its SQL; own: what the row itself says, not its history."""

    name: str
    kind: str
    how: str
    what: str
    own: bool = True


_KINDS = {"string": "varchar", "int64": "bigint", "float64": "double", "bool": "boolean"}
_FEAST = {"varchar": "String", "bigint": "Int64", "double": "Float64", "boolean": "Bool"}


def _features(columns: Mapping[str, Column], who: Sequence[str], label: str, known: str) -> Iterator[_Feature]:
    for each in columns.values():
        said, name = each.name.replace("_", " "), each.name
        if name in (label, known) or each.leaves in ("token", "never", "masked"):
            continue
        if each.leaves == "as_is" and each.type.startswith(("date", "timestamp")):
            how = f"date_diff('day', row_.{name}::date, row_.known_at::date)"
            yield _Feature(f"{name}_days", "bigint", how, f"days since {said}, when it was recorded")
        else:
            kind = {"year": "bigint", "zip3": "varchar"}.get(each.leaves) or _KINDS.get(each.type, "double")
            yield _Feature(name, kind, f"row_.{name}::{kind}", f"its {said}")
    for each in ("all", *who):
        of = "everything" if each == "all" else f"the same {each.replace('_', ' ')}"
        shown = label.replace("_", " ")
        yield _Feature(f"{each}_rate", "double", f"counted.{each}_hits / nullif(counted.{each}_told, 0)",
                       f"how often {shown} came, of {of}, told in the 90 days before", False)  # fmt: skip
        # How much was told of everything only says how long the history is.
        if each == "all":
            continue
        yield _Feature(f"{each}_told", "bigint", f"coalesce(counted.{each}_told, 0)::bigint",
                       f"outcomes of {of} that were told in the 90 days before", False)  # fmt: skip


def _words(name: str, columns: Mapping[str, Column], key: str, label: str, known: str) -> dict[str, str]:
    """Write the parts of the templates that follow from the table's columns."""
    who = [each.name for each in columns.values() if each.leaves == "token" and each.name != key]
    known_features = list(_features(columns, who, label, known))
    windows = []
    for each in ("all", *who):
        over = "{{ before(90) }}" if each == "all" else f'{{{{ before(90, "{each}") }}}}'
        windows += [f"    sum({it}) over {over} as {each}_{to}" for it, to in (("told", "told"), ("hit", "hits"))]
    shown = [f"  row_.{each}" for each in (key, *who)] + [
        f"  ({each.how})::{each.kind} as {each.name}" for each in known_features
    ]
    line = '      - {{name: {0}, data_type: {1}, description: "{2}"{3}}}'.format
    listed = [line(each, "varchar", f"the {each}, by its token", ", data_tests: [not_null]" if each == key else "")
              for each in (key, *who)]  # fmt: skip
    listed += [line(each.name, each.kind, each.what, "") for each in known_features]
    fields = [f'        Field(name="{each.name}", dtype={_FEAST[each.kind]}, description="{each.what}"),'
              for each in known_features]  # fmt: skip
    own = [each.name for each in known_features if each.own] or ["all_rate"]
    staged = [f'  "{each.name}" as {each.name}' for each in columns.values() if each.leaves not in ("never", "masked")]
    return {
        "staged": ",\n".join(staged), "listed": "\n".join(listed), "windows": ",\n".join(windows),
        "selected": ",\n".join(shown), "carried": ", ".join((key, *who)), "fields": "\n".join(fields),
        "raw": ", ".join(f'"{name}_features:{each}"' for each in own) + ",", "who": (who or [key])[0],
        "rate": f"{(who or ['all'])[0]}_rate",
    }  # fmt: skip


def _filled(template: str, values: Mapping[str, str]) -> str:
    return Template((TEMPLATES / "model" / f"{template}{END}").read_text(encoding="utf-8")).substitute(values)
