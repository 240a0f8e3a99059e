"""The patches fit the source and the page, and the runner tells a test that fails from one that does not."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutation.__main__ import MINIMUM_PATCHES, MINIMUM_PER_PACKAGE, find_misses, find_size_misses, summarize
from tests.mutation.patch import ROOT, Patch, PatchError, load_patches, read_patch
from tests.mutation.repository_copy import RepositoryCopy
from tests.mutation.runner import (
    Outcome,
    find_failing_tests,
    group_patches,
    run_patch,
    run_suite,
    sample_patches,
    split_by_file,
)
from tests.mutation.safety_claims import PAGE, render
from tests.mutation.static import compatible_batches, find_static_problems
from tests.mutation.syntax import PatternError, apply_replacement

MAXIMUM_PATCHES = 214
OBJECT_DIGEST = "object-digest-checked"
HAS_STATIC_TOOLS = all(importlib.util.find_spec(name) for name in ("ruff", "pyright", "importlinter"))
FORBID_UNKNOWN_KEYS = Patch(
    package="application",
    slug="unknown-key-refused",
    promise="An unknown key in wellspring.toml is an error.",
    file="src/wellspring/settings.py",
    pattern='ConfigDict(frozen=True, extra="forbid")',
    replacement='ConfigDict(frozen=True, extra="ignore")',
    test="tests/test_project.py::test_an_unknown_key_is_named_with_its_line_and_the_nearest_key",
)


@pytest.fixture(scope="module")
def patches() -> list[Patch]:
    return load_patches()


class TestPatches:
    def test_every_patch_fits_its_source_and_names_an_existing_test(self, patches: list[Patch]):
        assert patches

    def test_suite_has_its_minimum_size_and_at_most_214_patches(self, patches: list[Patch]):
        assert find_size_misses(patches) == []
        assert MINIMUM_PATCHES <= len(patches) <= MAXIMUM_PATCHES

    def test_promises_are_unique(self, patches: list[Patch]):
        repeated = Counter(patch.promise for patch in patches)
        assert [text for text, count in repeated.items() if count > 1] == []

    def test_every_promise_is_one_sentence(self, patches: list[Patch]):
        assert [patch.promise for patch in patches if not re.fullmatch(r"[A-Z][^.]*[^.]\.", patch.promise)] == []

    def test_safety_claims_page_is_current(self, patches: list[Patch]):
        current = PAGE.read_text(encoding="utf-8") == render(patches)
        assert current, "run python -m tests.mutation --write-docs"


class TestLoading:
    def test_unknown_slug_and_package_are_named(self):
        with pytest.raises(PatchError, match="no patch nothing"):
            load_patches(["nothing"])
        with pytest.raises(PatchError, match="no package nothing"):
            load_patches(package="nothing")

    def test_package_and_slug_select_patches(self):
        assert {patch.package for patch in load_patches(package="verify")} == {"verify"}
        assert [patch.slug for patch in load_patches([OBJECT_DIGEST])] == [OBJECT_DIGEST]

    @pytest.mark.parametrize(
        ("text", "mistake"),
        [
            ("promise = ", "is not TOML"),
            ('promise = "x"', "its keys are"),
            (
                'promise = "x"\nmodule = "wellspring.no"\nfunction = ""\npattern = "1"\nreplacement = "2"\ntest = ""',
                "no module wellspring.no",
            ),
            (
                'promise = "x"\nmodule = "wellspring"\nfunction = ""\npattern = " "\nreplacement = "2"\ntest = ""',
                "its pattern is empty",
            ),
        ],
    )
    def test_mistake_in_a_file_is_named(self, tmp_path: Path, text: str, mistake: str):
        path = tmp_path / "slug.toml"
        path.write_text(text)
        with pytest.raises(PatchError, match=mistake):
            read_patch(path)

    def test_text_patch_applies_only_to_text_that_occurs_once(self):
        patch = replace(FORBID_UNKNOWN_KEYS, function="", pattern="", text="once", replacement="twice")
        assert patch.apply("once upon") == "twice upon"
        with pytest.raises(PatternError, match="occurs 2 times"):
            patch.apply("once, once")


SOURCE = '''
class Store:
    """Hold rows."""

    limit = 3

    def put(self, rows):
        # Empty rows are refused.
        if not rows or len(rows) > self.limit:
            raise ValueError(
                "rows",
            )
        self.rows = rows
        self.synced = "ü" and sync(rows)
        return len(rows)


def sync(rows):
    def inner(rows):
        return len(rows) > 1

    return inner(rows)
'''


class TestApplying:
    def test_expression_is_replaced_where_formatting_differs(self):
        changed = apply_replacement(SOURCE, "Store.put", "ValueError('rows')", "KeyError('rows')")
        assert changed == SOURCE.replace('ValueError(\n                "rows",\n            )', "KeyError('rows')")

    def test_rest_of_the_file_keeps_its_text(self):
        changed = apply_replacement(SOURCE, "Store.put", "len(rows) > self.limit", "False")
        assert changed == SOURCE.replace("len(rows) > self.limit", "False")

    def test_statements_are_indented_to_their_place(self):
        changed = apply_replacement(
            SOURCE, "Store.put", "self.rows = rows", 'if rows:\n    self.rows = rows\ntext = """a\nb"""'
        )
        put = "        if rows:\n            self.rows = rows\n" + '        text = """a\nb"""\n'
        assert changed == SOURCE.replace("        self.rows = rows\n", put)

    def test_consecutive_statements_match_as_one_pattern(self):
        changed = apply_replacement(
            SOURCE, "Store.put", 'self.rows = rows\nself.synced = "ü" and sync(rows)', "self.rows = []"
        )
        assert "        self.rows = []\n        return len(rows)\n" in changed

    def test_columns_after_non_ascii_text_are_found(self):
        assert '"ü" and None' in apply_replacement(SOURCE, "Store.put", "sync(rows)", "None")

    def test_empty_replacement_removes_statements(self):
        changed = apply_replacement(SOURCE, "Store.put", "self.rows = rows", "")
        assert changed == SOURCE.replace("        self.rows = rows\n", "")

    def test_empty_replacement_of_a_whole_block_leaves_pass(self):
        assert "> self.limit:\n            pass\n" in apply_replacement(
            SOURCE, "Store.put", 'raise ValueError("rows")', ""
        )

    def test_replacement_with_lower_precedence_gets_parentheses(self):
        changed = apply_replacement(SOURCE, "sync.inner", "len(rows)", "rows or 0")
        assert "return (rows or 0) > 1" in changed

    def test_statement_can_replace_an_expression_statement(self):
        changed = apply_replacement("def f():\n    g()\n", "f", "g()", "return g()")
        assert changed == "def f():\n    return g()\n"

    def test_decorator_belongs_to_its_function(self):
        source = "@a\ndef f():\n    pass\n\n\nx = 1\n"
        assert apply_replacement(source, "", "@a\ndef f(): pass", "def f(): pass").startswith("def f(): pass\n\n\nx")

    @pytest.mark.parametrize(
        ("function", "pattern", "replacement", "mistake"),
        [
            ("Store.put", "len(rows)", "0", "occurs 2 times in Store.put"),
            ("Store.put", "len(row)", "0", "occurs 0 times"),
            ("Store.get", "len(rows)", "0", "no function or class Store.get"),
            ("inner", "len(rows)", "0", "no function or class inner"),
            ("sync.inner", "len(rows)", "len( rows )", "changes nothing"),
            ("sync.inner", "len(rows", "0", "is not Python"),
            ("Store", "limit = 3", "limit = = 3", "is not Python"),
        ],
    )
    def test_pattern_that_does_not_fit_is_refused(self, function: str, pattern: str, replacement: str, mistake: str):
        with pytest.raises(PatternError, match=mistake):
            apply_replacement(SOURCE, function, pattern, replacement)

    def test_function_limits_where_the_pattern_is_searched(self):
        changed = apply_replacement(SOURCE, "sync", "len(rows)", "0")
        assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(SOURCE.replace("len(rows) > 1", "0 > 1")))


class TestGrouping:
    def test_patches_with_servers_are_grouped_by_test_file(self, patches: list[Patch]):
        groups = group_patches(patches)
        assert sorted(patch.slug for group in groups for patch in group) == sorted(patch.slug for patch in patches)
        assert all(len({patch.test_file for patch in group}) == 1 for group in groups)

    def test_tests_of_one_file_stay_together(self):
        assert split_by_file(["b.py::x", "a.py::x", "a.py::y", "a.py::x"], 2) == [["a.py::x", "a.py::y"], ["b.py::x"]]

    def test_sample_needs_no_servers_and_is_spread(self, patches: list[Patch]):
        sample = sample_patches(patches, 6)
        assert len(sample) == 6
        assert not any(patch.needs_servers() for patch in sample)
        assert len({patch.package for patch in sample}) > 2


class TestFigures:
    def test_uncaught_and_statically_reported_patches_are_misses(self):
        outcomes = [
            Outcome(FORBID_UNKNOWN_KEYS, 1),
            Outcome(FORBID_UNKNOWN_KEYS, 1, undetected="its test passes"),
            Outcome(FORBID_UNKNOWN_KEYS, 1, static="ruff: F401"),
        ]
        slug = FORBID_UNKNOWN_KEYS.slug
        assert find_misses(outcomes) == [f"application/{slug}: its test passes", f"application/{slug}: ruff: F401"]
        assert summarize(outcomes, seconds=3.2, static=True) == (
            "mutation: 3 patches, 2 caught (minimum 3), 2 pass the static checks (minimum 3), 3 s"
        )

    def test_small_suite_is_a_miss(self):
        misses = find_size_misses([FORBID_UNKNOWN_KEYS] * (MINIMUM_PER_PACKAGE - 1))
        assert misses == ["3 patches, fewer than 140", "application: 3 patches, fewer than 4"]

    def test_command_line_names_what_is_wrong(self):
        completed = subprocess.run(
            [sys.executable, "-m", "tests.mutation", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (completed.returncode, completed.stderr.strip()) == (1, "no patch nothing")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> RepositoryCopy:
    return RepositoryCopy(tmp_path_factory.mktemp("mutation"))


class TestRunning:
    def test_processes_import_the_copy(self, copy: RepositoryCopy):
        completed = copy.run_python("-c", "import wellspring; print(wellspring.__file__)", timeout=60)
        assert completed.output.strip().startswith(str(copy.root))

    def test_patched_files_are_restored(self, copy: RepositoryCopy):
        path = copy.root / FORBID_UNKNOWN_KEYS.file
        before = path.read_bytes()
        with copy.patched([FORBID_UNKNOWN_KEYS]):
            assert path.read_bytes() != before
        assert path.read_bytes() == before

    def test_process_past_its_time_limit_is_killed(self, copy: RepositoryCopy):
        assert copy.run_python("-c", "import threading; threading.Event().wait()", timeout=1).code is None

    @pytest.mark.slow
    def test_patch_is_caught_when_its_test_fails(self, copy: RepositoryCopy):
        assert run_patch(copy, FORBID_UNKNOWN_KEYS).undetected == ""

    @pytest.mark.slow
    def test_patch_is_missed_when_its_test_passes(self, copy: RepositoryCopy):
        harmless = replace(FORBID_UNKNOWN_KEYS, replacement='ConfigDict(extra="forbid", frozen=True)')
        assert run_patch(copy, harmless).undetected == "its test passes"

    @pytest.mark.slow
    def test_patch_is_missed_when_its_test_does_not_run(self, copy: RepositoryCopy):
        patch = replace(FORBID_UNKNOWN_KEYS, test="tests/test_project.py::test_nothing")
        assert run_patch(copy, patch).undetected.startswith("its test did not run")

    @pytest.mark.slow
    def test_test_that_fails_without_a_patch_is_found(self, copy: RepositoryCopy):
        (copy.root / "tests/test_failing.py").write_text("def test_a():\n    assert 0\n\n\ndef test_b():\n    pass\n")
        failing = find_failing_tests(copy, ["tests/test_failing.py::test_a", "tests/test_failing.py::test_b"])
        assert list(failing) == ["tests/test_failing.py::test_a"]

    @pytest.mark.slow
    @pytest.mark.skipif(not HAS_STATIC_TOOLS, reason="`make check` installs ruff, pyright and import-linter")
    def test_static_tools_report_only_the_patch_that_they_find(self, copy: RepositoryCopy):
        wrong_type = replace(FORBID_UNKNOWN_KEYS, slug="wrong-type", replacement='ConfigDict(frozen="yes")')
        unused_import = replace(
            FORBID_UNKNOWN_KEYS,
            slug="unused-import",
            file="src/wellspring/trust/dlp/scanner.py",
            pattern="",
            text="import re\n",
            replacement="import os\nimport re\n",
        )
        quiet = load_patches([OBJECT_DIGEST])
        problems = find_static_problems(copy, [wrong_type, unused_import, *quiet])
        assert set(problems) == {"wrong-type", "unused-import"}
        assert problems["wrong-type"].startswith("pyright: ")
        assert problems["unused-import"].startswith("ruff: ")

    def test_patches_of_the_same_place_are_checked_apart(self, copy: RepositoryCopy):
        batches = compatible_batches(copy, [FORBID_UNKNOWN_KEYS, FORBID_UNKNOWN_KEYS])
        assert [len(batch) for batch in batches] == [1, 1]

    @pytest.mark.slow
    def test_sample_of_the_suite_is_caught(self, patches: list[Patch]):
        outcomes = run_suite(sample_patches(patches, 4), static=False, unpatched=False)
        assert [outcome for outcome in outcomes if outcome.undetected] == []
