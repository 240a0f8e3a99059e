"""new project | contract | model: drafts that run as they are, for a person to read and to mend."""

from __future__ import annotations

import glob
import keyword
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import click

from wellspring.cli.door import Door, WellspringGroup
from wellspring.cli.show import table
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import FILE, Project, nearest

if TYPE_CHECKING:
    from wellspring.records.data import Column, Contract

TEMPLATES = Path(__file__).parents[1] / "templates"
END = ".tmpl"
"""The end of a template's name: none of them is a module, a policy or SQL of the house's own."""
_LONG = 40
_WORDS = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TAKEN = {*"known_at instant asked told told_at hit sequence known_since row_number drop_id part tenant".split()}
"""What the drafted SQL, or the lake, calls its own."""


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
    nested = folder.parent == Path.cwd()
    door.say(f"project {name} in {folder}: {len(files)} files; its people are ann (author) and bob (approver)")
    door.answer(
        {"project": name, "folder": str(folder), "files": sorted(map(str, files))},
        next_command=f"cd {folder.name if nested else folder} && wellspring new contract ../FILE.csv",
    )
    return 0


@new.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", "called", help="What the table is called; else as the file.")
@click.pass_obj
def contract(door: Door, file: Path, called: str | None) -> int:
    """Draft a contract from the header and the values of a CSV FILE; all that is guessed is told, for you to mend.

    No value of the file is shown or kept. What looks like an identity leaves as a token; what looks personal, or is not
    plainly a number, a date or a code that is nobody's own, never leaves until you say so.
    """
    from wellspring.data import draft
    from wellspring.data.formats import strange

    here = door.project()
    name = called or re.sub(r"[^a-z0-9]+", "_", re.sub(r"[-_. ]*[0-9][-_.0-9]*$", "", file.stem.lower())).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise click.UsageError(f"{file.name} gives no name for a table; say one with --name")
    rows = strange.read(file)
    guesses = [draft.guess(each, rows.column(each)) for each in rows.column_names]
    key = draft.key(rows, guesses)
    files = f"{glob.escape(file.stem.rstrip('0123456789-_.'))}*{glob.escape(file.suffix)}"
    path = here.contracts / f"{name}.odcs.yaml"
    source = next(iter(here.sources))
    owner = f"owner@{here.name.replace('_', '-')}.example"
    write({path: draft.page(name, source=source, glob=files, owner=owner, guesses=guesses, key=key)})
    with ExitStack() as undo:
        undo.callback(path.unlink)
        _contract(here, name)
        undo.pop_all()
    door.say(f"a draft of {path}, guessed from {rows.num_rows:,} rows; read it and mend it:")
    shown = [(each.name, each.type, each.leaves + (f" ({each.domain})" if each.domain else ""), each.why)
             for each in guesses]  # fmt: skip
    door.say(table(("column", "type", "leaves", "because"), shown))
    door.say(f"key: {' + '.join(key) or 'none was found, so a row that comes twice is kept twice'}")
    door.say(
        f"files: {files} of {source}; owner: {owner}, which is nobody yet; a column that is not named never leaves"
    )
    as_is = [each.name for each in guesses if each.leaves == "as_is"]
    door.say(_open(as_is))
    document = {"contract": str(path), "files": files, "key": list(key), "as_is": as_is}
    door.answer(
        {**document, "columns": [each._asdict() for each in guesses]}, next_command=_to_receive(here, source, file)
    )
    return 0


def _open(as_is: Sequence[str]) -> str:
    if not as_is:
        return "no column leaves as it is: open by hand, in the contract, what is surely nobody's own"
    many = f"{len(as_is)} columns leave as they are" if len(as_is) > 1 else "1 column leaves as it is"
    return f"{many}: {', '.join(as_is)} - check {'them' if len(as_is) > 1 else 'it'} before `wellspring receive`"


@new.command()
@click.argument("name")
@click.option("--table", required=True, help="The table that a contract names.")
@click.option("--key", required=True, help="The column that says what is asked about; it leaves as a token.")
@click.option("--label", required=True, help="The column to foretell: yes or no, empty until it is known.")
@click.option("--known", required=True, help="The column that says when a row was known, and so when it is asked.")
@click.option("--answered", help="The column that says when the outcome was known, where it stands in the same row.")
@click.pass_obj
def model(door: Door, name: str, answered: str | None, **columns: str) -> int:
    """Write all that the model NAME needs: SQL with its tests, a view in features.py, models/NAME.py and a policy.

    It knows the table's own columns, and how often the outcome came before: of all, and of each other token.
    It is asked when a key's first row is known, so the outcome must be known later: in a later row, or by --answered.
    """
    here, asked = door.project(), _Asked(answered=answered or columns["known"], **columns)
    if not _WORDS.fullmatch(name) or len(name) > _LONG or keyword.iskeyword(name):
        raise click.UsageError(
            "a model's name is lower-case words joined by single underscores, and no word of Python's"
        )
    own = here.own
    if missing := sorted({"dbt", "features", "models"} - set(own)):
        raise ProjectError(f"{here.root / FILE} has no [{missing[0]}]", fix="add the section, or begin a new project")
    promised = _contract(here, asked.table)
    known = {each.name: each for each in promised.columns}
    _fits(here, promised, known, asked, told=answered is not None)
    staged, marts = own["dbt"] / "models" / "staging", own["dbt"] / "models" / "marts"
    files = {
        marts / f"{name}_features.sql": "features.sql", marts / f"{name}_label.sql": "label.sql",
        marts / f"{name}.yml": "marts.yml", own["models"] / f"{name}.py": "model.py",
        own["policies"] / f"{name}.cedar": "policy.cedar",
    }  # fmt: skip
    # A second model of the same table stands on the same first step, which may be somebody's by now.
    if not (staged / f"stg_{asked.table}.sql").exists():
        files |= {staged / f"stg_{asked.table}.sql": "staging.sql", staged / f"{asked.table}.yml": "staging.yml"}
    values = {"name": name, "project": here.name, **asked._asdict(), **_words(name, known, asked)}
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
    left = [each.name for each in known.values() if each.leaves in ("never", "masked")]
    door.say(f"not learned from: {', '.join(left) or 'nothing'} (of its contract), and tokens but for their history")
    if asked.answered != asked.known:
        door.say(
            f"every other column is taken for known at {asked.known}: take out of {name}_features.sql, {name}.yml and"
        )
        door.say(f"features.py what was filled in later, as {asked.label} was; the house cannot tell that by itself")
    if "recorded_at" not in known:
        door.say(
            "no column is called recorded_at (when the supplier recorded the row): what knew the future cannot be told"
        )
        door.say("from the rest, and no model of this table passes the gate until the supplier sends that column")
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


def _to_receive(here: Project, source: str, file: Path) -> str:
    """Say the next command: the servers may be up already, and a drop has to lie in its source."""
    from wellspring.servers import supervisor

    rows = supervisor.status(here)
    if not rows or any(each.state != "up" for each in rows):
        return "wellspring up"
    asked = here.sources[source]
    if asked.address != "embedded":
        return f"wellspring receive {source}    (once {file.name} lies in {asked.folder} of {asked.address})"
    outbox = here.vendor / asked.folder
    shown = outbox.relative_to(Path.cwd()) if outbox.is_relative_to(Path.cwd()) else outbox
    return f"cp {shlex.quote(str(file))} {shlex.quote(str(shown))}/ && wellspring receive {source}"


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


class _Asked(NamedTuple):
    """What a model is asked for. known, answered: the columns of when it is asked, and of when its outcome is known."""

    table: str
    key: str
    label: str
    known: str
    answered: str


def _fits(here: Project, promised: Contract, columns: Mapping[str, Column], asked: _Asked, *, told: bool) -> None:
    """Hold what was asked for against the contract. told: --answered was. Raises NotFound, ProjectError."""
    key, label = asked.key, asked.label
    for each in asked[1:]:
        if each not in columns:
            raise NotFound(f"the contract {asked.table} has no column {each!r}", fix=nearest(each, list(columns)))
    problems = []
    if columns[key].leaves != "token":
        problems.append(f"{key} leaves as {columns[key].leaves}, and what is asked about is a token")
    if columns[label].leaves != "as_is" or columns[label].type not in ("bool", "int64"):
        problems.append(
            f"{label} is {columns[label].type} and leaves as {columns[label].leaves}; it is yes or no, as_is"
        )
    for each in dict.fromkeys((asked.known, asked.answered)):
        if columns[each].leaves != "as_is" or not columns[each].type.startswith(("timestamp", "date")):
            problems.append(f"{each} is no instant that leaves as it is")
    if promised.key == (key,) and not told:
        problems.append(
            f"{asked.table} has one row of each {key}, and nothing says when its {label} was known: say --answered "
            f"COLUMN (--answered {asked.known}, if the {key} comes again in a later drop)"
        )
    named = [each.name for each in columns.values() if each.leaves not in ("never", "masked")]
    problems += [f"{each} is no name for a feature" for each in named if not _WORDS.fullmatch(each)]
    problems += [f"{each} is a name of the house's own" for each in named if each in _TAKEN]
    made = [each.name for each in _features(columns, _who(columns, key), asked)]
    twice = sorted({each for each in made if made.count(each) > 1 or each in (key, label, *_who(columns, key))})
    problems += [f"{each} would stand there twice" for each in twice]
    if problems:
        raise ProjectError(
            "\n".join(problems), fix=f"edit {here.contracts / asked.table}.odcs.yaml, or choose another column"
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


def _who(columns: Mapping[str, Column], key: str) -> list[str]:
    return [each.name for each in columns.values() if each.leaves == "token" and each.name != key]


def _features(columns: Mapping[str, Column], who: Sequence[str], asked: _Asked) -> Iterator[_Feature]:
    for each in columns.values():
        said, name = each.name.replace("_", " "), each.name
        # When the outcome was known tells of the outcome.
        if name in (asked.label, asked.known, asked.answered) or each.leaves in ("token", "never", "masked"):
            continue
        if each.leaves == "as_is" and each.type.startswith(("date", "timestamp")):
            how = f"date_diff('day', row_.\"{name}\"::date, row_.known_at::date)"
            yield _Feature(f"{name}_days", "bigint", how, f"days since {said}, when it was recorded")
        else:
            kind = {"year": "bigint", "zip3": "varchar"}.get(each.leaves) or _KINDS.get(each.type, "double")
            yield _Feature(name, kind, f'row_."{name}"::{kind}', f"its {said}")
    for each in ("all", *who):
        of = "everything" if each == "all" else f"the same {each.replace('_', ' ')}"
        shown = asked.label.replace("_", " ")
        yield _Feature(f"{each}_rate", "double", f"counted.{each}_hits / nullif(counted.{each}_told, 0)",
                       f"how often {shown} came, of {of}, told in the 90 days before", False)  # fmt: skip
        # How much was told of everything only says how long the history is.
        if each == "all":
            continue
        yield _Feature(f"{each}_told", "bigint", f"coalesce(counted.{each}_told, 0)::bigint",
                       f"outcomes of {of} that were told in the 90 days before", False)  # fmt: skip


def _words(name: str, columns: Mapping[str, Column], asked: _Asked) -> dict[str, str]:
    """Write the parts of the templates that follow from the table's columns; each of its names is quoted."""
    who, key = _who(columns, asked.key), asked.key
    made = list(_features(columns, who, asked))
    windows: list[str] = []
    for each in ("all", *who):
        over = "{{ before(90) }}" if each == "all" else f"{{{{ before(90, '\"{each}\"') }}}}"
        windows += [f"    sum({it}) over {over} as {each}_{to}" for it, to in (("told", "told"), ("hit", "hits"))]
    shown = [f'  row_."{each}"' for each in (key, *who)]
    shown += [f'  ({each.how})::{each.kind} as "{each.name}"' for each in made]
    line = '      - {{name: "{0}", quote: true, data_type: {1}, description: "{2}"{3}}}'.format
    listed = [line(each, "varchar", f"the {each}, by its token", ", data_tests: [not_null]" if each == key else "")
              for each in (key, *who)]  # fmt: skip
    listed += [line(each.name, each.kind, each.what, "") for each in made]
    fields = [f'        Field(name="{each.name}", dtype={_FEAST[each.kind]}, description="{each.what}"),'
              for each in made]  # fmt: skip
    own = [each.name for each in made if each.own] or ["all_rate"]
    staged = [f'  "{each.name}"' for each in columns.values() if each.leaves not in ("never", "masked")]
    later = asked.answered != asked.known
    return {
        "staged": ",\n".join(staged), "listed": "\n".join(listed), "windows": ",\n".join(windows),
        "selected": ",\n".join(shown), "carried": ", ".join(f'"{each}"' for each in (key, *who)),
        "fields": "\n".join(fields), "raw": "\n".join(f'            "{name}_features:{each}",' for each in own),
        "who": (who or [key])[0], "rate": f"{(who or ['all'])[0]}_rate",
        "article": "an" if key[0] in "aeio" else "a",
        # Known when it was both told and recorded; one without its instant is not known yet.
        "told": f'greatest(known_at, "{asked.answered}"::timestamptz)' if later else "known_at",
        "outcome": f'"{asked.label}" is not null' + (f' and "{asked.answered}" is not null' if later else ""),
    }  # fmt: skip


def _filled(template: str, values: Mapping[str, str]) -> str:
    return Template((TEMPLATES / "model" / f"{template}{END}").read_text(encoding="utf-8")).substitute(values)
