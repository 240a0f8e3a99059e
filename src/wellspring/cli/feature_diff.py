"""Print how the features of a candidate or a release differ from those of the live release."""

from __future__ import annotations

from typing import Any

from wellspring.cli.context import CliContext

MAX_LISTED_FILES = 5


def print_feature_diff(ctx: CliContext, diff: dict[str, Any]) -> None:
    """Print the changed dbt files, and one line for each changed feature. diff: a `ReleaseFeatureDiff` as JSON."""
    if not diff["live"]:
        ctx.echo(f"features: no release of {diff['model']} is live, so there is nothing to compare with")
        return
    files = diff["code"]
    unlisted = len(files) - MAX_LISTED_FILES
    listed = ", ".join(files[:MAX_LISTED_FILES]) + (f" and {unlisted} more" if unlisted > 0 else "")
    ctx.echo(f"dbt code, compared with release {diff['live']}: {listed or 'unchanged'}")
    if not diff["views"]:
        ctx.echo("features: all views have the same version as those of the live release")
        return
    for view in diff["views"]:
        changed = len(view["features"])
        ctx.echo(
            f"view {view['view']}, version {view['before_version']} -> {view['after_version']}: "
            f"{view['rows_before']:,} -> {view['rows_after']:,} rows, {changed} of its features differ"
        )
        rows = [
            (feature["feature"], f"{feature['changed']:,} of {view['compared']:,}", _describe(feature["before"]),
             _describe(feature["after"]))
            for feature in view["features"]
        ]  # fmt: skip
        if rows:
            ctx.echo_table(("feature", "rows that differ", "before", "after"), rows)


def _describe(distribution: dict[str, Any] | None) -> str:
    """Describe one side of a feature in a few words."""
    if distribution is None:
        return "absent"
    rows, parts = distribution["rows"], list[str]()
    if distribution["mean"] is not None:
        low, middle, high = distribution["quantiles"]
        parts.append(f"mean {distribution['mean']:.4g}, median {middle:.4g} ({low:.4g} to {high:.4g})")
    parts += [f"{name} {count / rows:.1%}" for name, count in distribution["shares"].items()]
    if distribution["nulls"]:
        parts.append(f"{distribution['nulls'] / rows:.1%} null")
    return ", ".join(parts) or "no value"
