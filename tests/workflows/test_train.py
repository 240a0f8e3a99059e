"""What a training is given: the newest built edition, its contracts and leaks, and the model that is live."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.builders import synthetic_world
from tests.builders.entry_index import Index
from tests.builders.recording_step import RecordingStep
from tests.builders.workflow_editions import BUILT, LANDED
from wellspring.bootstrap import ModelPorts
from wellspring.errors import ProjectError, Refused
from wellspring.records.trust import Ref
from wellspring.runtime.git import GitRevision
from wellspring.workflows import train as train_module

REVISION = GitRevision("5" * 40, dirty=True)
CLAIM = Ref(name="contract:claim@1.0.0", digest="1" * 64)
PEOPLE = Ref(name="contract:people@1.0.0", digest="2" * 64)
FIRST = LANDED.model_copy(update={"id": "0" * 12, "drops": ("old",)})
NEXT = LANDED.model_copy(update={"parent": FIRST.id})
"""The landed edition that BUILT was made of: by its parent, it holds what FIRST brought too."""


class ProjectFixture:
    """What a training touches; `given` is what it was called with."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arguments: dict[str, Any] = {}
        self.integrated = 0
        self.step = RecordingStep()
        self.clock, self.model_signer = self.step.clock, object()
        self.ledger = SimpleNamespace(index=Index(self.step))
        self.sequencer = SimpleNamespace(integrate=self.integrate)
        self.project = SimpleNamespace(source_paths={"models": folder}, root=folder, lake_dir=folder, name="tiny")
        current = {item.id: item for item in (FIRST, NEXT, BUILT)}
        self.lake = SimpleNamespace(get_edition=lambda name=None, level="landed": current[name] if name else BUILT)
        self.query_engine = "engine"
        self.project_code = "code"
        self.fence = "fence"
        self.model_store: Any = SimpleNamespace(paths="paths")
        self.live: Any = None
        self.refuses = False
        for drop, ref in (("d", PEOPLE), ("old", CLAIM), ("old", CLAIM), ("elsewhere", CLAIM)):
            with self.step("admit", f"drop:{drop}", inputs=[ref, Ref(name=f"drop:{drop}")]):
                pass
        with self.step(
            "publish",
            BUILT.subject,
            facts={"leaks": ["claim_features.paid"], "audited": {"claim_label": 7}, "landing_time": ["claim_label"]},
        ):
            pass
        monkeypatch.setattr(train_module, "load_edition_views", lambda platform, edition: synthetic_world.views())
        monkeypatch.setattr(train_module, "find_edition_transform", lambda platform, edition: "7" * 64)
        monkeypatch.setattr(
            train_module.definition_process, "read_model_definition", lambda folder, name, _: SimpleNamespace(name=name)
        )
        monkeypatch.setattr(
            train_module.definition, "digest_training_sources", lambda project, name: {f"models/{name}.py": "3" * 64}
        )
        monkeypatch.setattr(train_module.candidates, "read_candidate", lambda name, *, paths: (name, paths))
        monkeypatch.setattr(train_module.train, "train_candidate", self.train)
        monkeypatch.setattr(train_module.train, "reproduce_run", self.again)

    def integrate(self) -> None:
        self.integrated += 1

    def train(self, *words: Any, **arguments: Any) -> str:
        assert words[1].transform == "7" * 64
        self.arguments = {"edition": words[1].edition, "training_inputs": words[2], **arguments}
        if self.refuses:
            raise Refused("it is worse", fix="train a better one")
        return "candidate"

    def again(self, *words: Any, **arguments: Any) -> dict[str, str]:
        self.arguments = {"run": words[0], "open_data": words[2], **arguments}
        return {"model.lgb": "4" * 64}

    def learn(self) -> Any:
        project: Any = self
        return train_module.train_model(project, self.models(), "denials", revision=REVISION, progress=lambda *_: None)

    def models(self) -> ModelPorts:
        registry: Any = None
        releases: Any = SimpleNamespace(release_store=SimpleNamespace(get_live=lambda model: self.live))
        return ModelPorts(registry, self.model_store, releases)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ProjectFixture:
    return ProjectFixture(tmp_path, monkeypatch)


def test_it_learns_from_the_newest_built_edition_and_names_all_that_it_rests_on(project: ProjectFixture):
    assert project.learn() == "candidate"
    assert project.arguments["edition"] == BUILT
    assert project.arguments["training_inputs"].contracts == (CLAIM, PEOPLE)
    assert project.arguments["training_inputs"].leaked_columns == ("claim_features.paid",)
    assert project.arguments["training_inputs"].audited_rows == {"claim_label": 7}
    assert project.arguments["training_inputs"].landing_time == ("claim_label",)
    assert project.arguments["training_inputs"].source_digests == {"models/denials.py": "3" * 64}
    assert project.arguments["training_inputs"].revision == REVISION
    assert project.arguments["champion"] is None
    assert project.integrated == 2


def test_it_is_compared_with_what_is_live(project: ProjectFixture):
    project.live = SimpleNamespace(candidate="f" * 12)
    project.learn()
    assert project.arguments["champion"] == ("f" * 12, "paths")


def test_a_refusal_of_the_gate_is_integrated_all_the_same(project: ProjectFixture):
    project.refuses = True
    with pytest.raises(Refused, match="worse"):
        project.learn()
    assert project.integrated == 2


def test_a_run_is_trained_again_from_the_edition_that_it_names(project: ProjectFixture):
    requests: Any = project
    files = train_module.reproduce_run(requests, project.models(), "denials", "r" * 32, progress=lambda *_: None)
    assert files == {"model.lgb": "4" * 64}
    assert project.arguments["run"] == "r" * 32
    assert project.arguments["open_data"](FIRST.id).edition == FIRST
    assert project.integrated == 2


def test_a_project_without_a_models_section_is_an_error(project: ProjectFixture):
    project.project.source_paths = {}
    with pytest.raises(ProjectError, match=r"no \[models\] section"):
        project.learn()


def test_a_draft_is_trained_on_a_build_with_the_code_on_disk(project: ProjectFixture, monkeypatch: pytest.MonkeyPatch):
    builds: list[str] = []

    def build_draft(platform: Any, landed: Any, code: str) -> Any:
        builds.append(code)
        return BUILT

    def build_nothing(*_: Any) -> Any:
        raise AssertionError("the newest build is not read")

    monkeypatch.setattr(train_module, "build_draft", build_draft)
    monkeypatch.setattr(train_module, "latest_built_edition", build_nothing)
    monkeypatch.setattr(train_module.build, "save_transform", lambda project, sources: SimpleNamespace(digest="8" * 64))
    monkeypatch.setattr(train_module, "seal_stories", lambda platform, subjects: builds.extend(subjects))
    platform: Any = project
    train_module.train_model(
        platform, project.models(), "denials", revision=REVISION, progress=lambda *_: None, is_draft=True
    )
    assert project.arguments["edition"] == BUILT
    assert builds == ["8" * 64, BUILT.subject]
