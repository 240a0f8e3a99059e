"""wellspring.toml: every mistake is reported at once, with its line and its correction."""

import os
from pathlib import Path

import pytest

from tests.builders.plugins import write_package
from wellspring import project
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.runtime.service_users import SERVICE_SLOTS, ServiceUsers
from wellspring.settings import SOURCE_KINDS_GROUP

GOOD = """\
[project]
name = "health_plan"
tenant = "wellspring-benefits"

[sources.clearinghouse]
kind = "sftp"
"""


def write_project(folder: Path, text: str | bytes = GOOD) -> Path:
    """Write a project."""
    (folder / project.PROJECT_FILE).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def load_errors(folder: Path, text: str | bytes) -> list[str]:
    """Load an invalid project and return the lines of the error, without the path."""
    with pytest.raises(ProjectError) as error:
        project.load_project(write_project(folder, text), environ={})
    assert error.value.exit_code == 78
    return error.value.what.replace(str(folder / project.PROJECT_FILE), "toml").splitlines()


def test_a_good_project_is_complete_and_absolute(tmp_path: Path):
    loaded = project.load_project(write_project(tmp_path), environ={})
    assert (loaded.name, loaded.tenant, loaded.root) == ("health_plan", "wellspring-benefits", tmp_path)
    assert loaded.sources["clearinghouse"].embedded_server == "sftp"
    assert loaded.state_dir == tmp_path / ".wellspring"
    assert not loaded.witness.folder.is_relative_to(".wellspring")


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_key(tmp_path: Path):
    output = load_errors(tmp_path, GOOD + 'fodler = "inbox"\n')
    assert output == ["toml:7: unknown key 'sources.clearinghouse.fodler'; did you mean 'folder'?"]


def test_an_unknown_table_is_named_with_its_line(tmp_path: Path):
    output = load_errors(tmp_path, GOOD + '\n[witnes]\nfolder = "w"\n')
    assert output == ["toml:8: unknown key 'witnes'; did you mean 'witness'?"]


def test_every_mistake_is_listed_in_one_error(tmp_path: Path):
    output = load_errors(
        tmp_path, '[project]\nname = "Health Plan"\n\n[sources.a]\nkind = "sftp"\nsettle_seconds = -1\n'
    )
    assert len(output) == 3
    assert output[0].startswith("toml:2: 'project.name'")
    assert any("'project.tenant' is missing" in line for line in output)
    assert any(line.startswith("toml:6: 'sources.a.settle_seconds'") for line in output)


@pytest.mark.parametrize("line", ["max_bytes = true", "settle_seconds = true", "settle_seconds = inf"])
def test_a_number_is_no_truth_value_and_finite(tmp_path: Path, line: str):
    output = load_errors(tmp_path, GOOD + f"{line}\n")
    assert len(output) == 1
    assert f"sources.clearinghouse.{line.split()[0]}" in output[0]


OWN = '\n[dlp.detectors.plan_id]\npattern = "P[0-9]{4}"\nexamples = ["P1234"]\n'


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        ("P[0-9]{4}", "P[0-9{4}", "toml:9: 'dlp.detectors.plan_id.pattern': the pattern is not a regular expression"),
        ("P[0-9]{4}", "[0-9]*", "toml:9: 'dlp.detectors.plan_id.pattern': the pattern matches an empty text"),
        ('["P1234"]', "[]", "toml:10: 'dlp.detectors.plan_id.examples'"),
        ("plan_id", "Plan", "toml:8: 'dlp.detectors.Plan'"),
        ("examples", "exmples", "did you mean 'examples'?"),
    ],
)
def test_a_mistake_in_a_detector_is_named_with_its_line(tmp_path: Path, old: str, new: str, output: str):
    assert any(output in error for error in load_errors(tmp_path, GOOD + OWN.replace(old, new)))


def test_a_project_may_add_detectors(tmp_path: Path):
    loaded = project.load_project(write_project(tmp_path, GOOD + OWN), environ={})
    assert loaded.dlp.packs == ("core", "us")
    assert loaded.dlp.detectors["plan_id"].examples == ("P1234",)


def test_a_caller_cannot_have_a_reserved_name(tmp_path: Path):
    for name in {"owner", "root", "nobody", "supervisor", *SERVICE_SLOTS}:
        (output,) = load_errors(tmp_path, f"{GOOD}\n[callers.{name}]\nuid = 4711\n")
        assert output.startswith(f"toml:8: 'callers.{name}': this name is reserved for the platform")
    loaded = project.load_project(write_project(tmp_path, GOOD + "\n[callers.portal-2]\nuid = 4711\n"), environ={})
    assert loaded.callers["portal-2"].uid == 4711


def test_a_caller_cannot_have_a_service_uid(tmp_path: Path):
    for uid in (*ServiceUsers(64132).uids.values(), ServiceUsers().group_id("project"), 65534):
        (output,) = load_errors(tmp_path, f"{GOOD}\n[callers.portal]\nuid = {uid}\n")
        assert output.startswith("toml:9: 'callers.portal.uid': a service of the platform runs as this uid")


def test_only_another_tenant_than_the_projects_own_is_named_in_keys(tmp_path: Path):
    loaded = project.load_project(write_project(tmp_path, GOOD), environ={})
    assert loaded.qualify_tenant(loaded.tenant) == ""
    assert loaded.qualify_tenant("north") == "north"


def test_callers_have_distinct_uids(tmp_path: Path):
    output = load_errors(tmp_path, GOOD + "\n[callers.portal]\nuid = 4711\n[callers.kiosk]\nuid = 4711\n")
    assert output == [
        "toml:11: 'callers.kiosk.uid': callers.portal has the same uid: the API could not distinguish the two callers"
    ]


def test_a_caller_name_is_valid_in_policies(tmp_path: Path):
    output = load_errors(tmp_path, GOOD + '\n[callers."John Smith"]\nuid = 4711\n[callers.Portal]\nuid = 4712\n')
    assert [line.partition(":")[2].partition(":")[0] for line in output] == ["8", "10"]
    assert all("begins with a letter" in line for line in output)


def test_invalid_toml_is_reported_with_its_line(tmp_path: Path):
    (output,) = load_errors(tmp_path, "[project\n")
    assert "line 1" in output


def test_a_file_that_is_not_utf8_is_reported(tmp_path: Path):
    (output,) = load_errors(tmp_path, GOOD.encode("utf-16"))
    assert output == "toml is not UTF-8"


@pytest.mark.parametrize("key", ["root", "crash_at"])
def test_derived_settings_cannot_be_set_in_the_file(tmp_path: Path, key: str):
    (output,) = load_errors(tmp_path, f'{key} = "/elsewhere"\n{GOOD}')
    assert output == f"toml: {key} cannot be set in this file"


def test_the_nearest_project_upwards_is_found(tmp_path: Path):
    inner = write_project(tmp_path) / "a" / "b"
    inner.mkdir(parents=True)
    assert project.find_project_root(inner) == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_project_of_another_user_is_used_only_if_it_is_named(tmp_path: Path):
    write_project(tmp_path, GOOD)
    os.chown(tmp_path / "wellspring.toml", 65432, 65432)
    with pytest.raises(Refused, match="belongs to another user") as error:
        project.find_project_root(tmp_path)
    assert f"--project {tmp_path}" in error.value.fix


def test_a_folder_of_the_project_that_is_a_link_is_refused(tmp_path: Path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/dbt").symlink_to(tmp_path)
    write_project(tmp_path / "shop", GOOD + "\n[dbt]\n")
    with pytest.raises(ProjectError, match="dbt is a link"):
        _ = project.load_project(tmp_path / "shop").source_paths


def test_outside_a_project_the_fix_names_two_ways_into_one(tmp_path: Path):
    with pytest.raises(NotFound) as error:
        project.find_project_root(tmp_path)
    assert "--project" in error.value.fix
    assert "wellspring demo" in error.value.fix


def test_an_unknown_source_suggests_the_nearest_one(tmp_path: Path):
    with pytest.raises(NotFound) as error:
        project.load_project(write_project(tmp_path), environ={}).source_settings("clearinghose")
    assert error.value.fix == "did you mean 'clearinghouse'?"


def test_two_projects_live_in_one_process_and_share_no_socket(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_project(tmp_path / name)
    first, second = (project.load_project(tmp_path / name, environ={}) for name in ("a", "b"))
    assert first.runtime_dir != second.runtime_dir
    assert len(os.fsencode(first.socket_path("openbao"))) < 107


def test_the_crash_point_comes_from_the_environment(tmp_path: Path):
    assert (
        project.load_project(write_project(tmp_path), environ={"WELLSPRING_CRASH_AT": "lake.publish:act"}).crash_at
        == "lake.publish:act"
    )


def test_an_invalid_address_is_reported_with_its_line(tmp_path: Path):
    (output,) = load_errors(tmp_path, f'{GOOD}address = "embeded"\n')
    assert output.startswith("toml:7: 'sources.clearinghouse.address': an address is host:port")
    assert "embeded" not in output


def test_an_unknown_kind_of_source_is_reported_with_its_line_and_the_nearest_kind(tmp_path: Path):
    (output,) = load_errors(tmp_path, GOOD.replace('"sftp"', '"sftpp"'))
    assert output == "toml:6: 'sources.clearinghouse.kind': unknown kind of source 'sftpp'; did you mean 'sftp'?"


def test_a_source_without_a_kind_is_reported_with_its_line(tmp_path: Path):
    (output,) = load_errors(tmp_path, GOOD.replace('kind = "sftp"', 'user = "u"'))
    assert output == "toml:5: 'sources.clearinghouse.kind' is missing"


def test_a_source_that_is_not_a_table_is_reported(tmp_path: Path):
    (output,) = load_errors(tmp_path, GOOD.partition("[sources")[0] + '[sources]\nclearinghouse = "sftp"\n')
    assert output == "toml:6: 'sources.clearinghouse': a source is a table: [sources.NAME]"


@pytest.mark.parametrize("name", ["Clearinghouse", "../x", "a b", "a" * 41])
def test_the_name_of_a_source_is_part_of_paths(tmp_path: Path, name: str):
    (output,) = load_errors(tmp_path, GOOD.replace("clearinghouse", f'"{name}"'))
    assert "a source's name has 1 to 40 of a-z, 0-9, - and _" in output


def test_a_kind_of_source_registered_twice_is_reported_with_both_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    group = {SOURCE_KINDS_GROUP: {"sftp": "wellspring.data.sources.port:SourceKind"}}
    monkeypatch.syspath_prepend(str(write_package(tmp_path / "site", "other-sftp", group)))
    (output,) = load_errors(tmp_path, GOOD)
    assert output.startswith("toml:6: 'sources.clearinghouse.kind': kind of source 'sftp' is registered twice: by ")
    assert "other-sftp" in output
    assert "uninstall one of the two packages" in output


PLUGIN = """
from typing import Literal
from wellspring.settings import SettingsKind, SourceSettings

class QueueSettings(SourceSettings):
    kind: Literal["queue"]
    topic: str
QUEUE = SettingsKind(settings=QueueSettings)
"""


def test_a_kind_of_another_package_has_its_own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    group = {SOURCE_KINDS_GROUP: {"queue": "queue_source:QUEUE", "broken": "queue_source_that_needs:QUEUE"}}
    modules = {"queue_source": PLUGIN, "queue_source_that_needs": "import no_such_broker"}
    monkeypatch.syspath_prepend(str(write_package(tmp_path / "site", "queue-source", group, modules=modules)))
    text = GOOD.replace('"sftp"', '"queue"')
    source = project.load_project(write_project(tmp_path, text + 'topic = "drops"\n'), environ={}).sources
    assert source["clearinghouse"].model_dump()["topic"] == "drops"
    (output,) = load_errors(tmp_path, text + 'topic = "drops"\ntpoic = "x"\n')
    assert output == "toml:8: unknown key 'sources.clearinghouse.tpoic'; did you mean 'topic'?"
    (output,) = load_errors(tmp_path, GOOD.replace('"sftp"', '"broken"'))
    assert output == (
        "toml:6: 'sources.clearinghouse.kind': kind of source 'broken' needs the package no_such_broker, "
        "which is not installed; install it: pip install no_such_broker"
    )


def test_the_place_of_a_key_is_a_file_and_a_line(tmp_path: Path):
    loaded = project.load_project(write_project(tmp_path), environ={})
    assert loaded.locate("sources", "clearinghouse", "kind") == f"{tmp_path / project.PROJECT_FILE}:6"
    assert loaded.locate("nothing") == str(tmp_path / project.PROJECT_FILE)
