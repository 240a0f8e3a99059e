"""Code that every command shares: global options, error output, exit codes, and lazily imported commands."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.render import escape_text, format_error, render_table
from wellspring.cli.trace import begin_trace
from wellspring.errors import Refused, WellspringError

if TYPE_CHECKING:
    from wellspring.project import Project

USAGE_EXIT_CODE = 64


class CliContext:
    """The global options, and the output of one command."""

    def __init__(self, *, folder: Path | None, as_json: bool) -> None:
        self.folder = folder
        self.as_json = as_json

    def load_project(self) -> Project:
        from wellspring import project

        return project.load_project(self.folder)

    def echo(self, text: str = "") -> None:
        """Print one line of text, escaped. With --json, print nothing: standard output holds only the document."""
        self._print_lines([escape_text(text)])

    def echo_table(self, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table (see `render_table`). With --json, print nothing."""
        self._print_lines(render_table(headers, rows).split("\n"))

    def _print_lines(self, lines: Iterable[str]) -> None:
        if not self.as_json:
            click.echo("\n".join(lines))

    def print_result(self, value: Any, *, next_command: str | None = None) -> None:
        """Print the result of a command: the JSON document, or the next command to type."""
        if self.as_json:
            click.echo(json.dumps(value, indent=1, sort_keys=True))
        elif next_command:
            click.echo(f"next: {escape_text(self.full_command(next_command))}")

    def full_command(self, command: str) -> str:
        """Write a command so that it can be typed here: with the path of this program and the --project option."""
        project_option = f" --project {shlex.quote(str(self.folder.absolute()))}" if self.folder is not None else ""
        return re.sub(r"(^|; |&& )wellspring\b", lambda match: f"{match[1]}{program_name()}{project_option}", command)


def program_name() -> str:
    """Return how to call this program: by name if the shell finds it, else by path."""
    program_path = Path(sys.argv[0])
    installed = shutil.which("wellspring")
    if program_path.name != "wellspring" or (
        installed is not None and Path(installed).resolve() == program_path.resolve()
    ):
        return "wellspring"
    return shlex.quote(str(program_path.absolute()))


class LazyGroup(click.Group):
    """A group that imports a command only when it is used, and suggests the nearest name for an unknown one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_commands: dict[str, str] = {}

    def register_lazy(self, commands: dict[str, str]) -> None:
        """Register commands by name, each as `module:attribute`."""
        self._lazy_commands.update(commands)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._lazy_commands, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._lazy_commands:
            module, _, name = self._lazy_commands[cmd_name].partition(":")
            command = getattr(importlib.import_module(module), name)
        else:
            command = super().get_command(ctx, cmd_name)
        if command is not None and command.epilog is None:
            command.epilog = "Global options, in any position: --project FOLDER, --json."
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with the complete first sentence of its help."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command.help or "")) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        names = self.list_commands(ctx)
        if word not in names and not word.startswith("-"):
            close = difflib.get_close_matches(word, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"commands: {', '.join(names)}"
            raise click.UsageError(f"no command {word!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def _first_sentence(text: str) -> str:
    first = " ".join(text.strip().partition("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", first)[0].removesuffix(".")


def run_command(command: click.Command, argv: list[str] | None) -> int:
    """Run a command; return its exit code (docs/exit-codes.md)."""
    arguments = hoist_global_options(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        with begin_trace(os.environ):
            code = command.main(arguments, prog_name="wellspring", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as help_error:
        help_error.show()
        return USAGE_EXIT_CODE
    except click.ClickException as exc:
        context = getattr(exc, "ctx", None)
        _echo_error(
            "usage",
            exc.format_message(),
            f"see `{context.command_path if context else command.name} --help`",
            as_json,
        )
        return USAGE_EXIT_CODE
    except click.Abort:
        _echo_error("stopped", "interrupted", "run the command again", as_json)
        return 130
    except SystemExit:
        # click exits like this when the reader of standard output has gone (`| head`): not an error.
        return 0
    except WellspringError as exc:
        print_error(exc, as_json)
        return exc.exit_code
    except PermissionError as exc:
        refusal = Refused(
            f"uid {os.geteuid()} may not read or change {exc.filename}", fix="run as the user who ran `wellspring up`"
        )
        print_error(refusal, as_json)
        return refusal.exit_code


def hoist_global_options(argv: list[str]) -> list[str]:
    """Move --json and --project to the front, from any position (`wellspring status --json`)."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(argv)
    for word in remaining:
        if word == "--":
            rest += [word, *remaining]
        elif word == "--json" or word.startswith("--project="):
            front.append(word)
        elif word == "--project":
            front += [word, *[value for value in [next(remaining, None)] if value is not None]]
        else:
            rest.append(word)
    return front + rest


def print_error(error: WellspringError, as_json: bool) -> None:
    """Print an error: what failed, the reasons of its verdict if it has one, and the fix."""
    verdict = getattr(error, "verdict", None)
    if as_json:
        _echo_error(
            error.slug, error.what, error.fix, True, None if verdict is None else verdict.model_dump(mode="json")
        )
        return
    lines = [error.what]
    for reason in verdict.reasons if verdict is not None else ():
        if reason.message in error.what:
            continue
        location = f" in {reason.column}" if reason.column else ""
        lines.append(f"  {reason.code}{location}: {reason.message}")
    _echo_error(error.slug, "\n".join(lines), error.fix, False)


def _echo_error(slug: str, what: str, fix: str, as_json: bool, verdict: Any = None) -> None:
    if as_json:
        document = {"error": slug, "what": what, "fix": fix}
        click.echo(json.dumps(document if verdict is None else {**document, "verdict": verdict}), err=True)
    else:
        click.echo(format_error(slug, what, fix), err=True)
