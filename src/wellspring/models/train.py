"""Learn a model from a built edition, judge it, and keep it: the same run again gives the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wellspring.data import editions
from wellspring.data.joins import column
from wellspring.errors import Broken, Refused, Unavailable
from wellspring.models import artefact, calibration, card, definition, evaluate, gate, lightgbm, plots
from wellspring.models.artefact import BOOSTER, RECIPE, Input, Recipe
from wellspring.models.definition import Model
from wellspring.models.frame import Frame, Reader, gather
from wellspring.models.registry import Told
from wellspring.models.search import Settings, search
from wellspring.records.clock import Clock
from wellspring.records.data import Edition, Views
from wellspring.records.models import Candidate, Measured
from wellspring.records.observe import Step
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.records.verdict import Verdict
from wellspring.stores.objects.port import Objects, Paths
from wellspring.trust.keys.port import Signer
from wellspring_verify import canonical, notes

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Progress = Callable[[str, int, int], None]
LATE = 0.2
"""The newest share of the train rows: trials, calibration and threshold are judged on it, then it is learned too."""


class Runs(Protocol):
    """What is asked of the place that keeps runs (`models.registry.Registry`)."""

    def open(self, model: str) -> str: ...

    def log(
        self,
        run: str,
        *,
        edition: Edition,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None: ...

    def end(self, run: str, *, failed: bool = False) -> None: ...

    def register(self, model: str, run: str, *, tags: Mapping[str, str]) -> str: ...

    def told(self, run: str) -> Told: ...


class Shelf(NamedTuple):
    """Where models are kept, and by whose key. paths: of the models' folder; key: `ORIGIN/models`."""

    objects: Objects
    paths: Paths
    key: notes.Key


class Given(NamedTuple):
    """What a training rests on beside the data. code: digest of each file; contracts: those that the data kept.

    leaks: columns that the edition's publish says knew the future, `table.column`. audited: of how many rows of each
    table that was asked.
    """

    code: Mapping[str, Digest]
    contracts: tuple[Ref, ...]
    leaks: tuple[str, ...]
    audited: Mapping[str, int]


class Fitted(NamedTuple):
    """A trained model. settings: LightGBM's, as the search chose them."""

    recipe: Recipe
    booster: lightgbm.Booster
    settings: Settings

    def files(self) -> dict[str, bytes]:
        """The two files of the artefact."""
        return {BOOSTER: lightgbm.text(self.booster).encode(), RECIPE: self.recipe.encode()}


def learn(
    model: Model,
    views: Views,
    lake: Reader,
    edition: Edition,
    *,
    given: Given,
    live: Candidate | None,
    step: Step,
    registry: Runs,
    shelf: Shelf,
    signer: Signer,
    clock: Clock,
    progress: Progress,
) -> Candidate:
    """Train a model on a built edition and hold it against its gate; return the candidate that passed.

    live: the candidate behind what is live of this model. Raises Refused with the gate's verdict (the candidate is kept
    all the same, for whoever asks why), or before anything is trained when a feature leaks; NotFound and ProjectError
    for a model file that does not fit; Unavailable when MLflow is down, before anything is trained.
    """
    code = Ref(name=f"code:{model.name}", digest=definition.digest(given.code))
    built = Ref(name=edition.subject, digest=editions.digest(edition))
    known = Ref(name=f"views:{views.project}", digest=views.digest)
    _pass(gate.leaking(model, views, given.leaks, given.audited), step, [built, known, code])
    progress("join", 0, 1)
    theirs = (
        None if live is None else artefact.read(live.artefact, objects=shelf.objects, paths=shelf.paths, key=shelf.key)
    )
    also = [] if theirs is None else [f"{each.view}:{each.name}" for each in theirs.recipe.features]
    frame = gather(model, views, lake, edition, also=[each for each in also if _there(each, views)])
    inputs = frame.inputs()
    _pass(gate.suspected(model.subject, model.name, evaluate.screen(frame, inputs)), step, [built, known, code])
    run = registry.open(model.name)
    environment = Ref(name="environment:lock", digest=installed())
    inputs_ = [built, *given.contracts, known, code, environment]
    try:
        with step("train", f"run:{run}", inputs=inputs_, facts={"model": model.name}) as act:
            fitted = fit(frame, inputs, progress=progress)
            progress("evaluate", 0, 1)
            judged = evaluate.evaluate(frame, fitted)
            digest = artefact.write(
                fitted.files(), objects=shelf.objects, paths=shelf.paths, key=shelf.key, signer=signer
            )
            step.reached("models.learn:artefact-written")
            act.writes(Ref(name=f"artefact:{model.name}", digest=digest))
            act.note(
                train_rows=len(frame.train), test_rows=len(frame.test), unlabelled=frame.eligible - len(frame.test),
                answered=frame.answered, ahead=frame.ahead,
            )  # fmt: skip
            versus = (
                None if live is None or theirs is None else evaluate.versus(frame, judged.probability, live, theirs)
            )
            verdict = gate.judge(
                f"run:{run}", model.name, judged.scores, model.bars, positives=judged.positives, suspicious={},
                live=live.id if live is not None else None, versus=versus,
            )  # fmt: skip
            candidate = compose(
                Candidate(
                    id="", tenant=edition.tenant, known_since=clock.now(), model=model.name, run=run,
                    edition=edition.id, artefact=digest, views=views.digest, code=code.digest or "",
                    environment=environment.digest or "", contracts=given.contracts, scores=judged.scores,
                    verdict=verdict,
                )
            )  # fmt: skip
            progress("record", 0, 1)
            _log(registry, model, edition, given, candidate, fitted, judged)
    except BaseException as problem:
        _failed(registry, run, problem)
        raise
    _gate(candidate, live.id if live is not None else "", step=step, paths=shelf.paths)
    return candidate


def fit(
    frame: Frame, inputs: tuple[Input, ...] | None = None, *, progress: Progress, settings: Settings | None = None
) -> Fitted:
    """Look for settings, then train with them; settings given: only train, which gives the same bytes.

    Settings, rounds, calibration and threshold are chosen on the newest fifth of the train rows by a model that did not
    learn from it; then one of as many rounds learns from all of them.
    """
    model, inputs = frame.model, inputs or frame.inputs()
    names = [column(each.view, each.name) for each in inputs]
    categorical = [place for place, each in enumerate(inputs) if each.type == "string"]
    rows, truth = frame.matrix(inputs, frame.train), frame.truth[frame.train]
    early = int(len(truth) * (1 - LATE))
    unseen = (rows[early:], truth[early:])
    if len(set(truth[:early].tolist())) < 2 or len(set(truth[early:].tolist())) < 2:
        raise Refused(
            f"{model.name} cannot be learned: its train rows are of one kind for most of their time",
            fix="receive more history",
        )
    if settings is None:
        settings = search(
            rows[:early], truth[:early], unseen, names=names, categorical=categorical, how=model.search,
            progress=lambda done, total: progress("search", done, total),
        ).settings  # fmt: skip
    seed = model.search.seed
    first = lightgbm.fit(
        rows[:early], truth[:early], names=names, categorical=categorical, settings=settings,
        rounds=model.search.rounds, seed=seed, unseen=unseen,
    )  # fmt: skip
    rounds = lightgbm.rounds_of(first)
    raw = lightgbm.raw_scores(first, unseen[0])
    platt = calibration.fit(raw, unseen[1])
    threshold = calibration.threshold(model.threshold, calibration.probabilities(platt, raw), unseen[1])
    progress("train", 0, 1)
    booster = lightgbm.fit(
        rows, truth, names=names, categorical=categorical, settings=settings, rounds=rounds, seed=seed
    )
    keys = {each.view.name: each.view.keys for each in frame.used}
    recipe = Recipe(
        model=model.name, features=inputs, calibration=platt, threshold=threshold, labels=model.labels, keys=keys,
        seed=seed, rounds=rounds,
    )  # fmt: skip
    return Fitted(recipe, booster, settings)


def reproduce(
    run: str,
    model: Model,
    views: Views,
    lake: Reader,
    edition: Callable[[str], Edition],
    *,
    code: Mapping[str, Digest],
    step: Step,
    registry: Runs,
    shelf: Shelf,
    progress: Progress,
) -> dict[str, Digest]:
    """Train a run again and return the digests of its files, every byte the same. edition: finds one by its id.

    Raises Refused that names the file when the code is another now, or the environment; Broken when a byte differs.
    """
    told = registry.told(run)
    before: dict[str, Digest] = json.loads(told.params.get("code", "{}"))
    if changed := sorted(name for name in before.keys() | code.keys() if before.get(name) != code.get(name)):
        raise Refused(
            f"run {run} was trained by other code: {', '.join(changed)}",
            fix="bring these files back from their history, and train it again with them",
        )
    if told.tags.get("ws.environment") != installed():
        raise Refused(
            f"run {run} was trained with other packages than are installed here",
            fix="install what uv.lock of that time names; other builds give other bytes",
        )
    kept = artefact.verify(told.tags.get("ws.artefact", ""), paths=shelf.paths, key=shelf.key)
    with step("reproduce", f"run:{run}", inputs=[Ref(name=f"run:{run}")]) as act:
        frame = gather(model, views, lake, edition(told.params["edition"]))
        fitted = fit(frame, progress=progress, settings=json.loads(told.params["settings"]))
        again = {name: hashlib.sha256(content).hexdigest() for name, content in fitted.files().items()}
        if other := sorted(name for name, digest in again.items() if kept[name] != digest):
            raise Broken(
                f"run {run} trained again gives other bytes: {', '.join(other)}",
                fix="stop; its data, code or packages are not what it says they were",
            )
        act.note(files=len(again))
    return again


def compose(candidate: Candidate) -> Candidate:
    """Name a candidate by its own bytes."""
    return candidate.model_copy(update={"id": artefact.candidate_digest(candidate)[:12]})


def installed() -> Digest:
    """Digest the installed distributions: SHA-256 of `name==version`, a line each, sorted."""
    found = {(each.metadata["Name"] or "").lower(): each.version for each in importlib.metadata.distributions()}
    return hashlib.sha256("".join(f"{name}=={found[name]}\n" for name in sorted(found)).encode()).hexdigest()


def _pass(verdict: Verdict, step: Step, inputs: Collection[Ref]) -> None:
    """Refuse, on the record, what need not be trained to be known for bad."""
    if verdict.passed:
        return
    with step("gate", verdict.subject, inputs=inputs, facts={"outcome": verdict.outcome}):
        raise _refused(verdict)


def _gate(candidate: Candidate, live: str, *, step: Step, paths: Paths) -> None:
    """Record what the gate said, and refuse what it did not let pass. live: the candidate beside it, '' for none."""
    verdict, figures = candidate.verdict, candidate.scores.figures
    with step(
        "gate",
        candidate.subject,
        inputs=[Ref(name=f"run:{candidate.run}"), Ref(name=f"artefact:{candidate.model}", digest=candidate.artefact)],
        outputs=[Ref(name=candidate.subject, digest=artefact.candidate_digest(candidate))],
        facts={
            "model": candidate.model,
            "live": live,
            "outcome": verdict.outcome,
            "reasons": [each.code for each in verdict.reasons],
            "figures": {name: [repr(each.value), repr(each.low), repr(each.high)] for name, each in figures.items()},
        },
    ):
        artefact.keep_candidate(candidate, paths=paths)
        step.reached("models.learn:candidate-kept")
        if not verdict.passed:
            raise _refused(verdict)


def _refused(verdict: Verdict) -> Refused:
    against = [each.what for each in verdict.reasons if "was not released" in each.what]
    return Refused(
        "\n".join(against) or "the gate did not let it pass",
        fix="mend the features or the model file, and learn it again; a bar is lowered only by its owner",
        verdict=verdict,
    )


def _log(
    registry: Runs,
    model: Model,
    edition: Edition,
    given: Given,
    candidate: Candidate,
    fitted: Fitted,
    judged: evaluate.Judged,
) -> None:
    """Write the run down in MLflow: digests, figures and pictures; no row of data, and no token."""
    scores, gains = candidate.scores, lightgbm.importance(fitted.booster)
    names = [f"{each.view}:{each.name}" for each in fitted.recipe.features]
    registry.log(
        candidate.run,
        edition=edition,
        params={
            "model": model.name,
            "edition": edition.id,
            "seed": str(model.search.seed),
            "rounds": str(fitted.recipe.rounds),
            "threshold": fitted.recipe.threshold,
            "settings": json.dumps(fitted.settings, sort_keys=True),
            "code": json.dumps(dict(given.code), sort_keys=True),
        },
        metrics=_flat({**scores.figures, **{f"baseline_{name}": each for name, each in scores.baselines.items()}}),
        tags={
            "ws.artefact": candidate.artefact,
            "ws.candidate": candidate.id,
            "ws.gate": candidate.verdict.outcome,
            "ws.edition": editions.digest(edition),
            "ws.views": candidate.views,
            "ws.code": candidate.code,
            "ws.environment": candidate.environment,
            "ws.contracts": json.dumps({each.name: each.digest for each in candidate.contracts}, sort_keys=True),
        },
        files={
            **{f"model/{name}": content for name, content in fitted.files().items()},
            "scores.json": canonical.dumps(json.loads(artefact.encode_candidate(candidate))["scores"]),
            "card.md": card.write(model, candidate, fitted.recipe, importance=gains).encode(),
            "plots/calibration.svg": plots.calibration(
                judged.probability, judged.truth, bins=model.bars.calibration_bins
            ).encode(),
            "plots/roc.svg": plots.roc(judged.probability, judged.truth).encode(),
            "plots/importance.svg": plots.importance(names, gains).encode(),
        },
    )
    registry.register(model.name, candidate.run, tags={"ws.candidate": candidate.id, "ws.artefact": candidate.artefact})
    registry.end(candidate.run)


def _failed(registry: Runs, run: str, problem: BaseException) -> None:
    """End a run that came to nothing; that MLflow cannot be told so is a lesser news than why."""
    try:
        registry.end(run, failed=True)
    except Unavailable:
        problem.add_note(f"MLflow still shows run {run} as under way")


def _flat(figures: Mapping[str, Measured]) -> dict[str, float]:
    return {
        f"{name}{end}": value
        for name, each in figures.items()
        for end, value in (("", each.value), ("_low", each.low), ("_high", each.high))
    }


def _there(name: str, views: Views) -> bool:
    view = views.view(name.partition(":")[0])
    return view is not None and view.feature(name.partition(":")[2]) is not None
