"""The demo's second half: features as they were known, a gated model, two people, an answer, and its story."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wellspring.cli.door import Door
from wellspring.cli.follow import follow
from wellspring.cli.show import progress_bar
from wellspring.cli.stage import Measured, hold, quiet, scene
from wellspring.errors import Refused
from wellspring.project import Project

MODEL = "denials"
_NO = {"leak", "worse"}
ASKED = 200
"""Questions asked for the percentiles and the replay."""


def scenes(door: Door, here: Project, vendor: Any) -> Iterator[Measured]:
    """Play them in order."""
    yield from _features(door, here, vendor)
    candidate, figures = _learn(door, here, vendor)
    yield from figures
    people = _People(here)
    yield from _release(door, people, candidate)
    yield from _refused(door, here, vendor)
    yield from _answers(door, here)
    yield from _story(door, here)


def _features(door: Door, here: Project, vendor: Any) -> Iterator[Measured]:
    scene(door, "6. Features, as they were known then; a colleague's column that knew the future is named")
    vendor.colleague.bring(here.root)
    begun = time.perf_counter()
    with progress_bar(shown=not door.as_json) as draw:
        built = follow(here, "transform", on_progress=draw)
    took = time.perf_counter() - begun
    rows = sum(each["rows"] for each in built["tables"])
    hold(built["fresh"] and rows > 0, "a built edition is published")
    hold(built["leaks"] == [vendor.colleague.LEAK], "exactly the colleague's column is named as a leak")
    door.say(f"  built edition {built['edition']['id']}: {rows:,} rows in {len(built['tables'])} tables")
    door.say(f"  {built['leaks'][0]} differs once the future is taken away: no model that uses it will pass")
    online = sum(built["online"].values())
    yield Measured(
        "features are built", f"dbt twice, audit, publish, {online:,} rows online read back", f"{took:.1f} s"
    )


def _learn(door: Door, here: Project, vendor: Any) -> tuple[str, list[Measured]]:
    scene(door, "7. A denials model, trained on what was known, judged on what came after, beside three baselines")
    from wellspring.cli.learn import tell

    begun = time.perf_counter()
    with progress_bar(shown=not door.as_json) as draw:
        candidate = follow(here, "learn", MODEL, on_progress=draw)
    took = time.perf_counter() - begun
    tell(quiet(door), candidate)
    scores = candidate["scores"]
    auc = scores["figures"]["auc"]
    ceiling = vendor.process.ceiling(vendor.truth(), scores["since"], scores["until"], drawn=True)
    best = max(each["value"] for each in scores["baselines"].values())
    share = (auc["value"] - best) / (ceiling - best)
    hold(candidate["verdict"]["outcome"] == "pass", "the gate lets the model pass")
    figures = [
        Measured("denials AUC", "on claims that came after all it learned from, 95 % interval", _interval(auc)),
        *(
            Measured(f"baseline: {name}", "AUC on the same claims", _interval(each))
            for name, each in scores["baselines"].items()
        ),
        Measured("the process's ceiling", "AUC of the true probability, which no model can beat", f"{ceiling:.3f}"),
        Measured("share of lift", "(model - best baseline) / (ceiling - best baseline)", f"{share:.2f}"),
        Measured("a model is learned", "joined, searched, trained, judged, recorded in MLflow", f"{took:.1f} s"),
    ]
    return str(candidate["id"]), figures


def _release(door: Door, people: _People, candidate: str) -> Iterator[Measured]:
    scene(door, "8. Two people: ines proposes, may not approve what she proposed, and omar signs; then it is live")
    begun = time.perf_counter()
    people.enrol("ines")
    people.enrol("omar")
    code, proposed = people.act("ines", -1, "release", "propose", candidate)
    hold(code == 0, "ines proposes")
    release = proposed["release"]["id"]
    code, said = people.act("ines", 0, "release", "approve", release)
    hold(code == 77 and said["verdict"]["reasons"][0]["code"] == "self_approval", "nobody approves their own proposal")
    door.say(f"  ines approves: refused, {said['what']}")
    code, _ = people.act("omar", 0, "release", "approve", release)
    hold(code == 0, "omar approves")
    door.say(f"  omar approves release {release}: it answers now")
    took = time.perf_counter() - begun
    yield Measured("two people release it", "both enrolled; three logins, each with password and code", f"{took:.1f} s")


def _refused(door: Door, here: Project, vendor: Any) -> Iterator[Measured]:
    scene(door, "9. Two candidates that must not pass: one leaks, one is worse than what is live")
    told: list[str] = []
    for what, edit in (("leaking", vendor.colleague.leak), ("worse", vendor.colleague.forget)):
        edit(here.root)
        try:
            follow(here, "learn", MODEL)
        except Refused as refused:
            reasons = refused.verdict.reasons if refused.verdict is not None else ()
            told += [f"{what}: {reason.what}" for reason in reasons if reason.code in _NO]
    vendor.colleague.restore(here.root)
    for line in told:
        door.say(f"  {line}")
    hold(len(told) >= 2, "the gate refuses a leak and a worse model, each by name")
    yield Measured("bad candidates refused", "a leaking one and a worse one, in plain sentences", "2 of 2")


def _answers(door: Door, here: Project) -> Iterator[Measured]:
    scene(door, "10. Answers: each is journalled, then signed, then given; and each can be given again")
    from wellspring.client import Client

    asked = follow(here, "newest", MODEL, given={"count": ASKED})
    taken: list[float] = []
    with Client(here) as client:
        answers = []
        for keys in asked:
            begun = time.perf_counter()
            answers.append(client.predict(MODEL, keys))
            taken.append((time.perf_counter() - begun) * 1000)
        try:
            client.predict(MODEL, {**asked[0], next(iter(asked[0])): "900-12-3456"})
            hold(False, "a raw identifier is refused")
        except Refused as refused:
            hold("900-12-3456" not in f"{refused.what}{refused.fix}", "a raw identifier is not repeated")
            door.say(f"  a raw social security number as a key: refused, {refused.what}")
    strongest = max(answers, key=lambda each: each.score)
    door.say(f"  {strongest.decision}, {strongest.score:.3f} (threshold {strongest.threshold}), {strongest.state}")
    for because in strongest.reasons:
        door.say(f"    {'+' if because.push > 0 else '-'} {because.what}")
    (here.root / "answer.json").write_text(json.dumps(strongest.model_dump(mode="json"), indent=1), encoding="utf-8")
    cuts = statistics.quantiles(taken, n=100)
    yield Measured("an answer", f"{ASKED} in a row with reasons: p50 / p95 / p99", f"{_ms(cuts, 50, 95, 99)} ms")
    again = follow(here, "replay-answers", given={"predictions": [each.subject for each in answers]})
    equal = sum(each["equal"] for each in again)
    hold(equal == len(answers), "every answer given again is equal to the last bit")
    yield Measured("answers given again", "from the lake, equal to the last bit", f"{equal} of {len(answers)}")


def _story(door: Door, here: Project) -> Iterator[Measured]:
    scene(door, "11. The whole story of one answer, verified without the house; then one byte is flipped")
    from wellspring.cli.proof import copy_pack
    from wellspring.trust.ledger import keyring
    from wellspring_verify import pack as verifier

    answer = (here.root / "answer.json").read_bytes()
    told = json.loads(answer)
    written = follow(here, "prove", f"prediction:{told['id']}")
    out = here.root / "pack-of-an-answer"
    copy_pack(Path(written["folder"]), out)
    keys = keyring.read(here.ledger, here.root / here.witness.folder)
    begun = time.perf_counter()
    report = verifier.verify(out, key=keys.log, witness=keys.witness, answer=answer)
    verified = time.perf_counter() - begun
    hold(report.outcome == 0, "the story of the answer verifies")
    door.say(f"  prediction:{told['id']}: {written['entries']} entries, from the vendor's files to the promise")
    forged = here.root / "pack-of-an-answer-with-one-byte-flipped"
    shutil.copytree(out, forged)
    entry = sorted((forged / "entries").iterdir())[-1]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    broken = verifier.verify(forged, key=keys.log, witness=keys.witness)
    hold(broken.outcome == 20, "one flipped byte is found")
    door.say(f"  one byte flipped: {broken.findings[0]}")
    definition = f"{written['entries']} entries, approvals, gate, run, drops; offline"
    yield Measured("an answer's story is verified", definition, f"{verified:.2f} s")


class _People:
    """Ines and omar at a terminal of their own, with real passwords and the codes of a real authenticator."""

    def __init__(self, here: Project) -> None:
        self._command = [sys.executable, "-m", "wellspring.cli", "--project", str(here.root), "--json"]
        self._secrets: dict[str, tuple[str, str]] = {}

    def enrol(self, name: str) -> None:
        import secrets

        from wellspring.cli.terminal import at_terminal

        password = secrets.token_urlsafe(18)
        typed = [("password: ", password), ("again: ", password)]
        said = at_terminal([*self._command, "people", "enrol", name], typed)
        hold(said.code == 0, f"{name} is enrolled")
        query = parse_qs(urlsplit(json.loads(said.out)["otpauth_url"]).query)
        self._secrets[name] = (password, query["secret"][0])

    def act(self, name: str, steps: int, *words: str) -> tuple[int, Any]:
        """Do something as a person. steps: half minutes from now, since a code works once."""
        from pyotp.totp import TOTP

        from wellspring.cli.terminal import at_terminal

        password, secret = self._secrets[name]
        code = TOTP(secret).at(int(time.time()) + 30 * steps)
        typed = [("name: ", name), ("password: ", password), ("code: ", code)]
        said = at_terminal([*self._command, *words], typed)
        text = said.out if said.code == 0 else said.screen[said.screen.index("{") :]
        return said.code, json.loads(text)


def _interval(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} - {figure['high']:.3f})"


def _ms(cuts: list[float], *places: int) -> str:
    return " / ".join(f"{cuts[place - 1]:.1f}" for place in places)
