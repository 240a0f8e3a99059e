from __future__ import annotations

import json
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from tests.builders.recorder import RecorderHarness
from wellspring.observe.lineage import LineageWriter
from wellspring.records.trust import Ref

SCHEMAS = Path(__file__).parent.parent / "schemas" / "openlineage"


def validators() -> tuple[Draft202012Validator, dict[str, Draft202012Validator]]:
    """Return the validator of events, and those of facets by their _schemaURL."""
    schemas = [json.loads(path.read_text()) for path in sorted(SCHEMAS.rglob("*.json"))]
    registry: Registry[Any] = Registry().with_resources(
        [(schema["$id"], Resource.from_contents(schema)) for schema in schemas]
    )

    def validator(url: str) -> Draft202012Validator:
        return Draft202012Validator({"$ref": url}, registry=registry, format_checker=FormatChecker())

    facets = {
        url: validator(url)
        for schema in schemas
        for name in schema["$defs"]
        if name.endswith("Facet")
        for url in [f"{schema['$id']}#/$defs/{name}"]
    }
    return validator("https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"), facets


def facets_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    return [facet for holder in holders for facet in holder["facets"].values()]


@pytest.fixture
def events(tmp_path: Path) -> list[dict[str, Any]]:
    """Every kind of event: an intent and its done, a done, a failed, a recovery."""
    harness = RecorderHarness(tmp_path)
    inputs = [Ref(name="rows:a/0", digest="ab" * 32), Ref(name="contract:claim@1.2.0", digest="cd" * 32)]
    with harness.step("publish", "edition:e", intent=True, inputs=inputs) as context:
        context.add_outputs(Ref(name="snapshot:claim@77"), Ref(name="edition:e"), Ref(name="edition:e"))
    with harness.step("stage", "drop:a", inputs=inputs):
        pass
    with pytest.raises(RuntimeError), harness.step("stage", "drop:b"):
        raise RuntimeError("a name, perhaps")
    harness.step.complete_after_crash("publish", "edition:f", "worker:0")
    return [json.loads(line) for line in harness.lineage.path.read_text().splitlines()]


def test_every_event_and_facet_matches_the_published_schema(events: list[dict[str, Any]]) -> None:
    event_schema, facet_schemas = validators()
    kinds = [event["eventType"] for event in events]
    assert kinds == ["START", "COMPLETE", "START", "COMPLETE", "START", "FAIL", "COMPLETE"]
    observed = set()
    for event in events:
        event_schema.validate(event)
        for facet in facets_of(event):
            facet_schemas[facet["_schemaURL"]].validate(facet)
            observed.add(facet["_schemaURL"].rsplit("/", 1)[1])
    assert observed == {"TagsRunFacet", "TagsDatasetFacet", "ErrorMessageRunFacet", "DatasetVersionDatasetFacet"}


def test_the_schema_check_can_fail(events: list[dict[str, Any]]) -> None:
    event_schema, facet_schemas = validators()
    assert not event_schema.is_valid({**events[0], "eventType": "BEGIN"})
    assert not event_schema.is_valid({**events[0], "run": {"runId": "no uuid"}})
    failed = next(event for event in events if event["eventType"] == "FAIL")
    message = failed["run"]["facets"]["errorMessage"]
    assert not facet_schemas[message["_schemaURL"]].is_valid({**message, "message": 7})


def test_events_equal_those_of_openlineage_python(events: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from openlineage.client import event_v2, facet_v2
        from openlineage.client.generated import tags_dataset, tags_run
        from openlineage.client.serde import Serde
    classes = {
        "TagsRunFacet": (tags_run.TagsRunFacet, tags_run.TagsRunFacetFields),
        "TagsDatasetFacet": (tags_dataset.TagsDatasetFacet, tags_dataset.TagsDatasetFacetFields),
        "ErrorMessageRunFacet": (facet_v2.error_message_run.ErrorMessageRunFacet, None),
        "DatasetVersionDatasetFacet": (facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet, None),
    }

    def facets(of: dict[str, Any]) -> dict[str, Any]:
        built = {}
        for name, facet in of["facets"].items():
            kind, part = classes[facet["_schemaURL"].rsplit("/", 1)[1]]
            fields = {key: value for key, value in facet.items() if not key.startswith("_")}
            if part:
                fields["tags"] = [part(**tag) for tag in fields["tags"]]
            built[name] = kind(producer=facet["_producer"], **fields)
        return built

    def datasets(of: list[dict[str, Any]], kind: Any) -> list[Any]:
        return [kind(dataset["namespace"], dataset["name"], facets=facets(dataset)) for dataset in of]

    def bare(value: Any) -> Any:
        """Leave out what is empty: the library writes empty maps where we write none."""
        if isinstance(value, dict):
            return {key: bare(field) for key, field in value.items() if field not in ({}, None)}
        return [bare(part) for part in value] if isinstance(value, list) else value

    for event in events:
        library_event = event_v2.RunEvent(
            eventType=event_v2.RunState(event["eventType"]),
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=event_v2.Run(event["run"]["runId"], facets=facets(event["run"])),
            job=event_v2.Job(event["job"]["namespace"], event["job"]["name"]),
            inputs=datasets(event["inputs"], event_v2.InputDataset),
            outputs=datasets(event["outputs"], event_v2.OutputDataset),
        )
        assert bare(json.loads(Serde.to_json(library_event))) == bare(event)


def test_a_run_is_one_step_and_recovery_completes_the_run_of_its_intent(events: list[dict[str, Any]]) -> None:
    runs = [event["run"]["runId"] for event in events]
    assert runs[0] == runs[1] == runs[6]
    assert runs[2] == runs[3]
    assert runs[4] == runs[5]
    assert len(set(runs)) == 3


def test_datasets_are_named_without_their_version(events: list[dict[str, Any]]) -> None:
    published = events[1]
    assert [dataset["name"] for dataset in published["outputs"]] == ["snapshot:claim", "edition:e"]
    assert published["outputs"][0]["facets"]["version"]["datasetVersion"] == "77"
    assert published["inputs"][0]["facets"]["version"]["datasetVersion"] == "ab" * 32
    assert published["inputs"][1]["facets"]["tags"]["tags"][0]["value"] == "cd" * 32
    assert {dataset["namespace"] for dataset in published["inputs"]} == {"wellspring://demo"}


def test_a_failure_event_holds_the_error_class_but_not_its_text(events: list[dict[str, Any]]) -> None:
    failed = next(event for event in events if event["eventType"] == "FAIL")
    assert failed["run"]["facets"]["errorMessage"]["message"] == "RuntimeError"
    assert "a name, perhaps" not in json.dumps(events)


def test_a_partial_event_is_removed_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    harness = RecorderHarness(tmp_path)
    with harness.step("stage", "drop:a"):
        pass
    whole = harness.lineage.path.read_bytes()
    real = os.write
    monkeypatch.setattr("wellspring.observe.lineage.os.write", lambda handle, lines: real(handle, lines[:40]))
    with pytest.raises(OSError, match="cut short"):
        LineageWriter(harness.lineage.path, "demo").write_events(harness.journal.entries[0], started_at=None)
    assert harness.lineage.path.read_bytes() == whole


def test_predictions_give_one_event_a_minute_for_each_action_and_input(tmp_path: Path) -> None:
    harness = RecorderHarness(tmp_path)
    for release, count in (("release:a", 50), ("release:b", 3)):
        for n in range(count):
            harness.step.record_prediction("predict", f"prediction:{release}{n}", inputs=[Ref(name=release)])
    result = [json.loads(line) for line in harness.lineage.path.read_text().splitlines()]
    assert [(event["eventType"], event["inputs"][0]["name"]) for event in result] == [
        ("COMPLETE", "release:a"),
        ("COMPLETE", "release:b"),
    ]
    assert len(harness.journal.entries) == 53
    first = harness.journal.entries[0]
    later = first.model_copy(update={"known_since": first.known_since + timedelta(seconds=60), "sequence": 99})
    harness.lineage.append_sampled(later)
    harness.lineage.append_sampled(later)
    assert len(harness.lineage.path.read_text().splitlines()) == 3
