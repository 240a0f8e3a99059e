"""wellspring.toml: every mistake is reported at once, with its line and its correction."""

import os
from pathlib import Path

import pytest

from wellspring import project
from wellspring.errors import NotFound, ProjectError, Unavailable
from wellspring.runtime.privileges import SERVICE_UIDS

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
    assert loaded.sources["clearinghouse"].address == "embedded"
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


def test_a_caller_cannot_have_a_reserved_name(tmp_path: Path):
    for name in {"owner", "root", "nobody", "supervisor", *SERVICE_UIDS}:
        (output,) = load_errors(tmp_path, f"{GOOD}\n[callers.{name}]\nuid = 4711\n")
        assert output.startswith(f"toml:8: 'callers.{name}': this name is reserved for the platform")
    loaded = project.load_project(write_project(tmp_path, GOOD + "\n[callers.portal-2]\nuid = 4711\n"), environ={})
    assert loaded.callers["portal-2"].uid == 4711


def test_a_caller_cannot_have_a_service_uid(tmp_path: Path):
    for uid in SERVICE_UIDS.values():
        (output,) = load_errors(tmp_path, f"{GOOD}\n[callers.portal]\nuid = {uid}\n")
        assert output.startswith("toml:9: 'callers.portal.uid': a service of the platform runs as this uid")


def test_callers_have_distinct_uids(tmp_path: Path):
    output = load_errors(tmp_path, GOOD + "\n[callers.portal]\nuid = 4711\n[callers.desk]\nuid = 4711\n")
    assert output == [
        "toml:11: 'callers.desk.uid': callers.portal has the same uid: the API could not distinguish the two callers"
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


def test_a_project_that_is_not_up_is_unavailable(tmp_path: Path):
    loaded = project.load_project(write_project(tmp_path), environ={})
    assert loaded.read_run_state() is None
    with pytest.raises(Unavailable) as error:
        loaded.server_port("vendor")
    assert (error.value.exit_code, error.value.fix) == (69, "run `wellspring up`")


def test_an_invalid_run_json_is_a_project_error(tmp_path: Path):
    loaded = project.load_project(write_project(tmp_path), environ={})
    loaded.state_dir.mkdir()
    (loaded.state_dir / "run.json").write_text('{"supervisor": 1}')
    with pytest.raises(ProjectError, match=r"run\.json is invalid"):
        loaded.read_run_state()


def test_the_crash_point_comes_from_the_environment(tmp_path: Path):
    assert (
        project.load_project(write_project(tmp_path), environ={"WELLSPRING_CRASH_AT": "lake.publish:act"}).crash_at
        == "lake.publish:act"
    )


@pytest.mark.parametrize("written", ["embeded", "sftp.example.com:", "sftp.example.com:70000", ":22", "host:sftp"])
def test_an_invalid_address_is_reported_without_its_value(tmp_path: Path, written: str):
    (output,) = load_errors(tmp_path, f'{GOOD}address = "{written}"\n')
    assert "an address is host:port" in output
    assert written not in output
