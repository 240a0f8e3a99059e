"""The command line as a whole: its commands, exit codes and start time."""

from importlib import metadata

import click
import pytest

from wellspring.cli import cli, main


def test_every_command_can_be_loaded():
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str()


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["--help"], 0), (["ingets"], 64), ([], 64)])
def test_the_exit_code_is_that_of_the_command(words: list[str], code: int):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == code


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"wellspring {metadata.version('wellspring')}\n"
