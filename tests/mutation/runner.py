"""Run the mutation suite: apply each patch in a copy of the repository, and check that its test fails.

Each copy does one task at a time, and there is one copy for each processor that may be used. First the tools of the
static half check many patches together and the tests run without patches, many in one process; then each patch has a
process of its own. Patches whose tests start servers are tasks by test file, and come first because they are longest.
"""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from tests.mutation.patch import Patch
from tests.mutation.repository_copy import RepositoryCopy
from tests.mutation.static import find_static_problems, first_line

TEST_FAILED = 1  # pytest's exit code when tests ran and some failed; 2 to 5 mean that the test itself did not run
PATCH_SECONDS, SUITE_SECONDS = 300, 1800
Result = TypeVar("Result")


class Outcome(NamedTuple):
    """The result of one patch. undetected, static: what is wrong with the test and with the patch, '' if nothing."""

    patch: Patch
    seconds: float
    undetected: str = ""
    static: str = ""


class SuiteError(Exception):
    """The suite cannot judge any patch: the sources fail the static checks without a patch."""


def run_suite(patches: Sequence[Patch], *, static: bool = True, unpatched: bool = True, jobs: int = 1) -> list[Outcome]:
    """Run patches in `jobs` copies at a time, print a line for each, and return the outcomes in order of the patches.

    static: check that ruff, pyright and the import contracts do not report the patches.
    unpatched: run the tests first without patches; a test that fails anyway detects nothing.
    """
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[RepositoryCopy] = SimpleQueue()
        for number in range(jobs):
            copies.put(RepositoryCopy(Path(folder, str(number))))

        def in_a_copy(function: Callable[..., Result], argument: object) -> Future[Result]:
            def work() -> Result:
                copy = copies.get()
                try:
                    return function(copy, argument)
                finally:
                    copies.put(copy)

            return pool.submit(work)

        static_check = in_a_copy(find_static_problems, patches) if static else None
        halves = split_by_file([patch.test for patch in patches], jobs) if unpatched else []
        unpatched_runs = [in_a_copy(find_failing_tests, nodes) for nodes in halves]
        groups = [in_a_copy(run_group, group) for group in group_patches(patches)]

        problems = static_check.result() if static_check else {}
        if "" in problems:
            pool.shutdown(cancel_futures=True)
            raise SuiteError(problems[""])
        failing = {node: line for run in unpatched_runs for node, line in run.result().items()}
        outcomes = {outcome.patch.slug: outcome for group in groups for outcome in group.result()}
    return [complete_outcome(outcomes[patch.slug], problems, failing) for patch in patches]


def complete_outcome(outcome: Outcome, problems: Mapping[str, str], failing: Mapping[str, str]) -> Outcome:
    """Add to an outcome what the static checks and the tests without patches found."""
    patch = outcome.patch
    if line := failing.get(patch.test):
        outcome = outcome._replace(undetected=f"its test fails without the patch: {line}")
    return outcome._replace(static=problems.get(patch.slug, ""))


def run_group(copy: RepositoryCopy, patches: Sequence[Patch]) -> list[Outcome]:
    """Run patches one after another in one copy."""
    return [run_patch(copy, patch) for patch in patches]


def run_patch(copy: RepositoryCopy, patch: Patch) -> Outcome:
    """Apply one patch, run its test, and restore the source."""
    start = time.monotonic()
    with copy.patched([patch]):
        completed = copy.run_tests([patch.test], timeout=PATCH_SECONDS)
    # A fixture that fails is an ERROR, and says nothing about the promise.
    if completed.code == TEST_FAILED and "\nFAILED " in completed.output:
        undetected = ""
    elif completed.code == 0:
        undetected = "its test passes"
    elif completed.code is None:
        undetected = f"its test did not end in {PATCH_SECONDS} s"
    else:
        undetected = f"its test did not run: {first_line(completed.output)}"
    outcome = Outcome(patch, time.monotonic() - start, undetected)
    print(f"{'MISSED' if undetected else 'caught'} {outcome.seconds:6.1f} s  {patch.package}/{patch.slug}", flush=True)
    return outcome


def find_failing_tests(copy: RepositoryCopy, nodes: Sequence[str]) -> dict[str, str]:
    """Run tests without a patch, in one process, and return the failing ones with a line that says why."""
    completed = copy.run_tests(nodes, first_failure_only=False, timeout=SUITE_SECONDS)
    if completed.code == 0:
        return {}
    lines = re.findall(r"^(?:FAILED|ERROR) .+$", completed.output, re.MULTILINE)
    if not lines:
        return dict.fromkeys(nodes, first_line(completed.output))
    return {node: line[:160] for node in nodes for line in lines if _names(line, node)}


def _names(line: str, node: str) -> bool:
    """Tell whether a summary line of pytest is about a test, or about one case of it."""
    name = line.split(" ", 1)[1].split(" - ")[0]
    return name == node or name.startswith((f"{node}[", f"{node}::"))


def group_patches(patches: Sequence[Patch]) -> list[list[Patch]]:
    """Group the patches that need servers by test file, largest group first; each other patch is a group of its own."""
    alone = [[patch] for patch in patches if not patch.needs_servers()]
    served = sorted((patch for patch in patches if patch.needs_servers()), key=lambda patch: patch.test_file)
    groups = [list(group) for _, group in groupby(served, key=lambda patch: patch.test_file)]
    return sorted(groups, key=len, reverse=True) + alone


def split_by_file(nodes: Sequence[str], parts: int) -> list[list[str]]:
    """Split tests into lists of about equal length, those of one file together."""
    lists: list[list[str]] = [[] for _ in range(parts)]
    for _, group in groupby(sorted(set(nodes)), key=lambda node: node.partition("::")[0]):
        min(lists, key=len).extend(group)
    return [part for part in lists if part]


def sample_patches(patches: Sequence[Patch], size: int) -> list[Patch]:
    """Take at most `size` patches that need no servers, spread over all of them, the same ones each time."""
    quick = [patch for patch in patches if not patch.needs_servers()]
    return quick[:: max(1, len(quick) // size)][:size]
