"""Command line of the mutation suite: `python -m tests.mutation [--sample N] [--no-static] [--package P] [SLUG ...]`.

Exit 0 when every patch was caught by its test and passed the static checks, and the suite has its minimum size; else 1.
The last line has the figures.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.mutation.patch import Patch, PatchError, load_patches
from tests.mutation.runner import Outcome, SuiteError, run_suite, sample_patches
from tests.mutation.safety_claims import PAGE, render

MINIMUM_PATCHES = 140
MINIMUM_PER_PACKAGE = 4
MAXIMUM_JOBS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = parse(arguments)
    try:
        patches = load_patches(options.slugs, package=options.package)
        if options.write_docs:
            PAGE.write_text(render(load_patches()), encoding="utf-8")
            return 0
        if options.sample:
            patches = sample_patches(patches, options.sample)
        start = time.monotonic()
        outcomes = run_suite(patches, static=options.static, unpatched=options.unpatched, jobs=options.jobs)
    except (PatchError, SuiteError) as exc:
        print(exc, file=sys.stderr)
        return 1
    whole = not (options.slugs or options.package or options.sample)
    misses = [*find_misses(outcomes), *(find_size_misses(patches) if whole else [])]
    for miss in misses:
        print(miss)
    print(summarize(outcomes, seconds=time.monotonic() - start, static=options.static))
    return 1 if misses else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="Break each promise in a copy, and check that its test fails."
    )
    parser.add_argument("slugs", nargs="*", metavar="SLUG", help="the patches to run; all by default")
    parser.add_argument("--package", default="", metavar="P", help="run the patches of one package")
    parser.add_argument("--sample", type=int, metavar="N", help="run N patches whose tests need no servers")
    parser.add_argument("--no-static", dest="static", action="store_false", help="skip ruff, pyright, import contracts")
    parser.add_argument(
        "--no-unpatched", dest="unpatched", action="store_false", help="do not run the tests without patches first"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(MAXIMUM_JOBS, os.cpu_count() or 1), help="copies that work at the same time"
    )
    parser.add_argument("--write-docs", action="store_true", help="write docs/safety-claims.md and run nothing")
    return parser.parse_args(arguments)


def find_misses(outcomes: Sequence[Outcome]) -> list[str]:
    """List the patches that were not caught or that the static checks report."""
    return [
        f"{outcome.patch.package}/{outcome.patch.slug}: {problem}"
        for outcome in outcomes
        for problem in (outcome.undetected, outcome.static)
        if problem
    ]


def find_size_misses(patches: Sequence[Patch]) -> list[str]:
    """List where the whole suite is smaller than its minimum."""
    misses = [f"{len(patches)} patches, fewer than {MINIMUM_PATCHES}"] if len(patches) < MINIMUM_PATCHES else []
    counts = Counter(patch.package for patch in patches)
    return misses + [
        f"{package}: {count} patches, fewer than {MINIMUM_PER_PACKAGE}"
        for package, count in counts.items()
        if count < MINIMUM_PER_PACKAGE
    ]


def summarize(outcomes: Sequence[Outcome], *, seconds: float, static: bool) -> str:
    """Write the figures as one line."""
    count = len(outcomes)
    caught = sum(not outcome.undetected for outcome in outcomes)
    passed = sum(not outcome.static for outcome in outcomes)
    parts = [f"{count} patches", f"{caught} caught (minimum {count})"]
    if static:
        parts.append(f"{passed} pass the static checks (minimum {count})")
    return f"mutation: {', '.join(parts)}, {seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
