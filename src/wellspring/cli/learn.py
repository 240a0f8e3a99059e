"""transform, learn, ask: from a landed edition to an answer."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.door import Door
from wellspring.cli.follow import follow
from wellspring.cli.show import only_model, progress_bar, table

NOTHING = 3


@click.command()
@click.pass_obj
def transform(door: Door) -> int:
    """Build the tables and features from the newest landed edition, audit them, publish, and put them online.

    Exit 0: a new built edition. 3: this edition was built already by this code.
    """
    here = door.project()
    with progress_bar(shown=not door.as_json) as draw:
        built = follow(here, "transform", on_progress=draw)
    edition = built["edition"]
    door.say(f"built edition {edition['id']} from landed {edition['parent']}")
    door.say(table(("table", "rows"), [(each["table"], each["rows"]) for each in built["tables"]]))
    for leak in built["leaks"]:
        door.say(f"  {leak} knew the future: no model that uses it passes the gate")
    if built["online"]:
        door.say(table(("view", "rows online"), list(built["online"].items())))
    door.answer(built, next_command=f"wellspring learn {only_model(here)}")
    return 0 if built["fresh"] else NOTHING


@click.command()
@click.argument("model")
@click.option("--reproduce", metavar="RUN", help="Train that run again, and compare every byte.")
@click.pass_obj
def learn(door: Door, model: str, reproduce: str | None) -> int:
    """Train models/MODEL.py on the newest built edition and hold it against its gate.

    Exit 0: the gate lets it pass. 77: it does not, and says why.
    """
    here = door.project()
    with progress_bar(shown=not door.as_json) as draw:
        if reproduce is not None:
            again = follow(here, "reproduce", model, given={"run": reproduce}, on_progress=draw)
            door.say(f"run {reproduce} trained again: {len(again['files'])} files, every byte the same")
            door.answer(again, next_command=f"wellspring prove run:{reproduce} --out PACK")
            return 0
        candidate = follow(here, "learn", model, on_progress=draw)
    tell(door, candidate)
    door.answer(candidate, next_command=f"wellspring release propose {candidate['id']}")
    return 0


def tell(door: Door, candidate: dict[str, Any]) -> None:
    """Print what a candidate measured, beside its baselines."""
    scores = candidate["scores"]
    door.say(
        f"candidate {candidate['id']} of {candidate['model']}: "
        f"{scores['train_rows']:,} rows to learn from, {scores['test_rows']:,} it never saw"
    )
    named = [(name, each) for name, each in scores["figures"].items()]
    named += [(f"baseline: {name}", each) for name, each in scores["baselines"].items()]
    rows = [(name, f"{each['value']:.3f}", f"{each['low']:.3f} - {each['high']:.3f}") for name, each in named]
    door.say(table(("figure", "value", "95 % interval"), rows))
    for reason in candidate["verdict"]["reasons"]:
        door.say(f"  {reason['code']}: {reason['what']}")
    door.say(f"run {candidate['run']}, which `wellspring learn {candidate['model']} --reproduce` trains again")


@click.command()
@click.argument("prediction")
@click.pass_obj
def replay(door: Door, prediction: str) -> int:
    """Give an answer again (prediction:ID) from the lake; exit 0: equal to the last bit, 20: what differs is named."""
    again = follow(door.project(), "replay-answers", prediction)[0]
    if again["equal"]:
        door.say(f"{prediction}: vector and score are equal to the last bit ({float.fromhex(again['score']):.6f})")
    else:
        door.say(f"{prediction} is not what was answered: {again['differs']}")
    door.answer(again, next_command=f"wellspring prove {prediction} --out PACK")
    return 0 if again["equal"] else 20


@click.command()
@click.argument("model")
@click.argument("keys", nargs=-1, metavar="[COLUMN=TOKEN]...")
@click.option("--newest", is_flag=True, help="Ask about the newest row that the built edition holds.")
@click.option("--reasons/--no-reasons", default=True, help="Whether to say why.")
@click.pass_obj
def ask(door: Door, model: str, keys: tuple[str, ...], newest: bool, reasons: bool) -> int:
    """Ask MODEL about one thing, named by its tokens; the answer is journalled and signed before it is given."""
    from wellspring.client import Client

    here = door.project()
    if newest == bool(keys):
        raise click.UsageError("name COLUMN=TOKEN for each key, or say --newest")
    if newest:
        named: dict[str, str] = follow(here, "newest", model)[0]
    else:
        if wrong := [key for key in keys if "=" not in key]:
            raise click.UsageError(f"{len(wrong)} of the keys are not COLUMN=TOKEN")
        named = dict(key.split("=", 1) for key in keys)
    if newest:
        door.say(f"asked about {', '.join(f'{name}={token}' for name, token in named.items())}")
    answer = Client(here).predict(model, named, reasons=reasons)
    door.say(f"{answer.decision} ({answer.score:.3f}, threshold {answer.threshold}); {answer.state}")
    for because in answer.reasons:
        door.say(f"  {'+' if because.push > 0 else '-'} {because.what}")
    door.say(f"release {answer.release}, edition {answer.edition}, as of {answer.as_of:%Y-%m-%d %H:%M} UTC")
    door.answer(answer.model_dump(mode="json"), next_command=f"wellspring prove {answer.subject} --out PACK")
    return 0
