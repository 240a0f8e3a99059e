"""Changes of the dbt code that new trainings and people's queries use: built, and compared feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellspring.bootstrap.lake_ports import open_transform_sources
from wellspring.data.features import point_in_time
from wellspring.data.features.feature_diff import ViewDiff, ViewRows, diff_view
from wellspring.data.transform import build
from wellspring.errors import Refused
from wellspring.records.changes import PROJECT_WIDE, ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.workflows.transform import load_edition_views

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.data.transform.transform_sources import TransformSources
    from wellspring.project import Project
    from wellspring.records.features import FeatureViews, FeatureViewSpec
    from wellspring.records.lake import Edition
    from wellspring.records.record import Digest
    from wellspring.workflows.changes.port import ContentChange


class TransformChange:
    """The dbt project of a project: one, whose source files are kept by content."""

    kind: ChangeKindName = "transform"
    resources: tuple[str, ...] = ("built", "landed")

    def list_names(self, project: Project) -> tuple[str, ...]:
        """Return one name if wellspring.toml names a dbt project."""
        return (PROJECT_WIDE,) if "dbt" in project.source_paths else ()

    def store_content(self, platform: Platform, _name: str, /) -> Digest:
        """Keep the source files of the dbt project on disk."""
        return build.save_transform(platform.project, open_transform_sources(platform.project)).digest

    def describe_change(self, platform: Platform, change: ContentChange, /) -> ChangeDraft:
        """Build the newest landed edition with the new code, and compare its features with those of the live code."""
        sources, landed = open_transform_sources(platform.project), platform.lake.get_edition()
        if landed is None:
            raise Refused("no edition has landed yet", fix="run `wellspring ingest`")
        edition = build_draft(platform, landed, change.content)
        lines, diffs = list[str](), list[ViewDiff]()
        if change.live is not None:
            lines.append(f"dbt code: {', '.join(_list_changed_files(sources, change.live, change.content))}")
            if "features" in platform.project.source_paths:
                diffs = _diff_views(platform, build_draft(platform, landed, change.live), edition)
        lines += [line for diff in diffs for line in describe_view(diff)]
        if not diffs:
            lines.append("features: no view has another version")
        return ChangeDraft(
            content=change.content,
            summary=(*lines, f"compared on the newest landed edition {landed.id}"),
            needs_second_person=True,
            details={"views": [diff.model_dump(mode="json") for diff in diffs]},
        )

    def check_change(self, platform: Platform, change: ChangeRelease, /) -> None:
        """Check that every source file is kept."""
        sources = open_transform_sources(platform.project)
        for digest in sources.list_files(change.content).values():
            sources.read_file(digest)

    def apply_change(self, _platform: Platform, _change: ChangeRelease, /) -> None:
        """Do nothing: the next `transform` builds the code that the pointer names."""


def _list_changed_files(sources: TransformSources, before: Digest, after: Digest) -> list[str]:
    former, later = sources.list_files(before), sources.list_files(after)
    return sorted(path for path in former.keys() | later.keys() if former.get(path) != later.get(path))


def build_draft(platform: Platform, landed: Edition, code: Digest) -> Edition:
    """Build a landed edition with some dbt code, beside what readers get. Raises the errors of a build."""
    return build.transform_edition(
        platform.lake,
        platform.project,
        landed,
        build.Transform(code, is_newest=False),
        sources=open_transform_sources(platform.project),
        engine=platform.query_engine,
        project_code=platform.project_code,
        step=platform.step,
    ).edition


def describe_view(diff: ViewDiff) -> list[str]:
    """Say in words how a view differs: rows, then each changed feature with its distribution on both sides."""
    rows = f"{diff.rows_before:,} -> {diff.rows_after:,} rows"
    lines = [f"view {diff.view}: {rows}, {len(diff.features)} of its features differ"]
    for feature in diff.features:
        sides = [
            "absent" if side is None else f"mean {side.mean:.4g}" if side.mean is not None else f"{side.nulls:,} null"
            for side in (feature.before, feature.after)
        ]
        lines.append(
            f"feature {diff.view}.{feature.feature}: {feature.changed:,} of {diff.compared:,} rows differ, "
            f"{sides[0]} -> {sides[1]}"
        )
    return lines


def _diff_views(platform: Platform, live: Edition, edition: Edition) -> list[ViewDiff]:
    before, after = load_edition_views(platform, live), load_edition_views(platform, edition)
    return [
        diff_view(_read_rows(platform, live, former), _read_rows(platform, edition, view))
        for former, view in _pair_changed(before, after)
    ]


def _pair_changed(before: FeatureViews, after: FeatureViews) -> list[tuple[FeatureViewSpec, FeatureViewSpec]]:
    pairs = [(before.find_view(view.name), view) for view in after.views]
    return [(former, view) for former, view in pairs if former is not None and former.version != view.version]


def _read_rows(platform: Platform, edition: Edition, view: FeatureViewSpec) -> ViewRows:
    table = platform.lake.open_table(edition, view.table)
    return ViewRows(view, point_in_time.latest_rows(view, table, engine=platform.query_engine))
