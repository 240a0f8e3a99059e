from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.builders.projects import minimal_config
from wellspring.errors import ProjectError, Unavailable
from wellspring.project import Project, hash_sections, load_project
from wellspring.runtime.run_state import (
    RunState,
    ServerState,
    find_server_port,
    find_unread_changes,
    read_run_state,
    select_settings,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "wellspring.toml").write_text(minimal_config())
    return load_project(tmp_path)


def test_a_project_that_is_not_up_is_unavailable(project: Project):
    assert read_run_state(project) is None
    with pytest.raises(Unavailable) as error:
        find_server_port(project, "vendor")
    assert (error.value.exit_code, error.value.fix) == (69, "run `wellspring up`")


def test_an_invalid_run_json_is_a_project_error(project: Project):
    project.state_dir.mkdir()
    (project.state_dir / "run.json").write_text('{"supervisor": 1}')
    with pytest.raises(ProjectError, match=r"run\.json is invalid"):
        read_run_state(project)


def start(project: Project, *servers: str) -> RunState:
    """Return the state of servers that have just started."""
    digests = hash_sections(project.root)

    def state(server: str) -> ServerState:
        return ServerState(pid=1, start_ticks=1, version="1", settings=select_settings(server, digests))

    return RunState(
        supervisor=state("supervisor"),
        servers={server: state(server) for server in servers},
        started_at=datetime(2026, 11, 25, tzinfo=UTC),
        separation="process",
    )


@pytest.mark.parametrize(
    ("edit", "meant"),
    [
        ("", []),
        ("\n# a comment\n", []),
        ('\n[sources.lab]\nkind = "sftp"\n', [("enclave", "sources", "wellspring restart enclave")]),
        ("\n[dlp]\npacks = []\n", [("enclave", "dlp", "wellspring restart enclave")]),
        (
            "\n[callers.portal]\nuid = 4711\n",
            [
                ("api", "callers", "wellspring restart api"),
                ("enclave", "callers", "wellspring restart enclave"),
            ],
        ),
        (
            '\n[servers]\nopenbao = "elsewhere"\n',
            [("supervisor", "servers", "wellspring down && wellspring up")],
        ),
        ("\n[not valid", []),
        ('\n[users.ana]\nroles = ["owner"]\n', []),
    ],
)
def test_a_change_that_a_running_server_has_not_read_is_named(
    project: Project, edit: str, meant: list[tuple[str, str, str]]
):
    running = start(project, "openbao", "enclave", "api")
    with (project.root / "wellspring.toml").open("a") as toml:
        toml.write(edit)
    changes = find_unread_changes(project, running)
    assert sorted((change.server, *change.sections, change.command) for change in changes) == meant
    for change in changes:
        assert f"has not read the change of [{change.sections[0]}] in wellspring.toml" in change.describe()
    assert find_unread_changes(project, start(project, "enclave", "api")) == []


def test_a_changed_setting_of_a_source_is_named_until_the_enclave_restarts(project: Project):
    running = start(project, "enclave")
    toml = project.root / "wellspring.toml"
    toml.write_text(toml.read_text().replace('kind = "sftp"', 'kind = "sftp"\nmax_bytes = 1000'))
    assert [change.sections for change in find_unread_changes(project, running)] == [("sources",)]
    assert find_unread_changes(project, None) == []
