"""Training and evaluation: from a built edition to a candidate that passed its gate; the reproduction of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from wellspring.bootstrap.lake_ports import open_transform_sources
from wellspring.data.transform import build
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.lake.built_tables import audited_rows, landing_time_tables, leaked_columns
from wellspring.models.datasets.training_set import TrainingSource
from wellspring.models.releases import candidates
from wellspring.models.spec import definition, definition_process
from wellspring.models.training import evaluation_run, ports, train
from wellspring.project import PROJECT_FILE
from wellspring.records.models import Candidate
from wellspring.records.record import Digest
from wellspring.records.trust import Ref
from wellspring.trust.modes import find_mode_period
from wellspring.workflows.changes.transform import build_draft
from wellspring.workflows.ingest import WorkflowProgress
from wellspring.workflows.prove import seal_stories
from wellspring.workflows.transform import find_edition_transform, latest_built_edition, load_edition_views

if TYPE_CHECKING:
    from pathlib import Path

    from wellspring.bootstrap import ModelPorts, Platform
    from wellspring.records.lake import Edition
    from wellspring.runtime.git import GitRevision


def train_model(
    platform: Platform,
    models: ModelPorts,
    model_name: str,
    *,
    revision: GitRevision,
    progress: WorkflowProgress,
    is_draft: bool = False,
) -> Candidate:
    """Train models/NAME.py on the newest built edition. Raises Refused with the reasons when the gate fails.

    revision: of the project's repository, which the caller reads because a worker is confined. is_draft: on the newest
    landed edition, built with the dbt code on disk beside what readers get; the caller holds the resources of a build.
    """
    platform.sequencer.integrate()
    model = definition_process.read_model_definition(_models_folder(platform), model_name, platform.project_code)
    edition = _build_draft(platform) if is_draft else latest_built_edition(platform)
    live_release = models.releases.release_store.get_live(model.name)
    try:
        return train.train_candidate(
            model,
            _open_training_data(platform, edition.id),
            _describe_inputs(platform, model_name, edition, revision),
            champion=candidates.read_candidate(live_release.candidate, paths=models.store.paths)
            if live_release is not None
            else None,
            ports=_training_ports(platform, models),
            progress=progress,
        )
    finally:
        platform.sequencer.integrate()


def evaluate_release(
    platform: Platform, models: ModelPorts, model_name: str, *, revision: GitRevision, progress: WorkflowProgress
) -> Candidate:
    """Evaluate the files of a live release on the newest built edition, without training. Raises as `train_model`.

    Raises NotFound without a live release.
    """
    platform.sequencer.integrate()
    model = definition_process.read_model_definition(_models_folder(platform), model_name, platform.project_code)
    edition = latest_built_edition(platform)
    live_release = models.releases.release_store.get_live(model.name)
    if live_release is None:
        raise NotFound(f"{model_name} has no live release", fix=f"run `wellspring train {model_name}`")
    champion = candidates.read_candidate(live_release.candidate, paths=models.store.paths)
    try:
        return evaluation_run.evaluate_candidate(
            model,
            evaluation_run.EvaluatedModel(champion, models.store.read_artifact(champion.artifact)),
            _open_training_data(platform, edition.id),
            _describe_inputs(platform, model_name, edition, revision),
            champion=champion,
            ports=_training_ports(platform, models),
            progress=progress,
        )
    finally:
        platform.sequencer.integrate()


def reproduce_run(
    platform: Platform, models: ModelPorts, model_name: str, run_id: str, *, progress: WorkflowProgress
) -> dict[str, Digest]:
    """Repeat a training run from the edition that it names, and return the digests of its identical files."""
    platform.sequencer.integrate()
    try:
        return train.reproduce_run(
            run_id,
            definition_process.read_model_definition(_models_folder(platform), model_name, platform.project_code),
            partial(_open_training_data, platform),
            source_digests=definition.digest_training_sources(platform.project, model_name),
            ports=_training_ports(platform, models),
            progress=progress,
        )
    finally:
        platform.sequencer.integrate()


def _describe_inputs(
    platform: Platform, model_name: str, edition: Edition, revision: GitRevision
) -> ports.TrainingInputs:
    return ports.TrainingInputs(
        source_digests=definition.digest_training_sources(platform.project, model_name),
        contracts=_contract_refs(platform, edition),
        leaked_columns=leaked_columns(platform.ledger.index, edition),
        audited_rows=audited_rows(platform.ledger.index, edition),
        revision=revision,
        landing_time=landing_time_tables(platform.ledger.index, edition),
        mode=find_mode_period(platform.ledger.index).mode,
    )


def _build_draft(platform: Platform) -> Edition:
    landed = platform.lake.get_edition()
    if landed is None:
        raise Refused("no edition has landed yet", fix="run `wellspring ingest`")
    code = build.save_transform(platform.project, open_transform_sources(platform.project)).digest
    edition = build_draft(platform, landed, code)
    platform.sequencer.integrate()
    seal_stories(platform, [edition.subject])
    return edition


def _open_training_data(platform: Platform, edition_id: str) -> ports.TrainingData:
    edition = _get_edition(platform, edition_id)
    return ports.TrainingData(
        load_edition_views(platform, edition),
        TrainingSource(platform.lake, platform.query_engine),
        edition,
        find_edition_transform(platform, edition),
    )


def _training_ports(platform: Platform, models: ModelPorts) -> ports.TrainingPorts:
    return ports.TrainingPorts(
        platform.step, models.registry, models.store, platform.model_signer, platform.clock, platform.fence
    )


def _get_edition(platform: Platform, edition_id: str) -> Edition:
    edition = platform.lake.get_edition(edition_id)
    assert edition is not None  # get_edition returns None only without an id
    return edition


def _models_folder(platform: Platform) -> Path:
    if "models" not in platform.project.source_paths:
        raise ProjectError(
            f"{platform.project.root / PROJECT_FILE} has no [models] section", fix="add the section and a model file"
        )
    return platform.project.source_paths["models"]


def _contract_refs(platform: Platform, edition: Edition) -> tuple[Ref, ...]:
    """Return references to the contracts of an edition's rows, from the `admit` entries of its drops."""
    index, refs, pending = platform.ledger.index, list[Ref](), [edition]
    while pending:
        current = pending.pop()
        for drop in current.drops:
            for admission_entry in index.list_entries(subject=f"drop:{drop}", action="admit", phase="done"):
                refs += [ref for ref in admission_entry.entry.inputs if ref.name.startswith("contract:")]
        if current.parent is not None:
            pending.append(_get_edition(platform, current.parent))
    refs_by_key = {(ref.name, str(ref.digest)): ref for ref in refs}
    return tuple(refs_by_key[key] for key in sorted(refs_by_key))
