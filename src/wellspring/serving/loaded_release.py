"""Releases in memory: load one with all that it names, and choose which of a model's releases answers a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from wellspring.errors import CorruptedError, ProjectError
from wellspring.plugins import guard_plugin_code
from wellspring.records.contracts import DataContract
from wellspring.records.deployments import Deployment, DeploymentRole
from wellspring.records.features import FeatureViews, FeatureViewSpec
from wellspring.records.models import Release
from wellspring.records.record import Digest
from wellspring.records.trust import ProjectMode
from wellspring.serving.scorer import Scorer
from wellspring_verify.deployments import selects_challenger

TokenDomains = Mapping[str, frozenset[str]]
"""Token domains by key column: those that the contracts declare for columns of that name."""


class LoadedRelease(NamedTuple):
    """A release in memory. views: all view definitions that the release was approved with.

    superseded_by: the live release (`release:ID`) that could not be loaded, or ''. Each ledger record repeats it, so
    that the verifier accepts a prediction of the previous release. mode: of the project, in each prediction.
    """

    release: Release
    scorer: Scorer
    views: FeatureViews
    token_domains: TokenDomains
    superseded_by: str = ""
    mode: ProjectMode = "governed"

    @property
    def views_used(self) -> tuple[FeatureViewSpec, ...]:
        """Return the views that the model reads, sorted by name."""
        views = [self.views.find_view(name) for name in sorted(self.scorer.spec.keys)]
        return tuple(view for view in views if view is not None)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the key columns that a request must have."""
        return self.scorer.keys


class AnsweringRelease(NamedTuple):
    """The release that answers one request. missing_challenger: the challenger (`release:ID`) that should, or ''."""

    served: LoadedRelease
    role: DeploymentRole
    missing_challenger: str = ""


class LoadedDeployment(NamedTuple):
    """The releases of one model that are in memory. challenger: None without one, or if it could not be loaded."""

    stable: LoadedRelease
    deployment: Deployment
    challenger: LoadedRelease | None = None

    def choose_release(self, request_digest: Digest) -> AnsweringRelease:
        """Choose the release that answers a request: the same tokens get the same release."""
        deployment = self.deployment
        if not deployment.challenger or not selects_challenger(deployment.seed, deployment.share, request_digest):
            return AnsweringRelease(self.stable, "stable")
        if self.challenger is None:
            return AnsweringRelease(self.stable, "stable", f"release:{deployment.challenger}")
        return AnsweringRelease(self.challenger, "challenger")


def load_release(
    release: Release,
    *,
    scorer: Callable[[Release], Scorer],
    views: Callable[[Digest], FeatureViews],
    token_domains: Callable[[], TokenDomains],
) -> LoadedRelease:
    """Load a release, and check it against its views and the contracts.

    A promotion runs the same checks, so that a release which cannot be served never becomes live. scorer, views and
    token_domains are loaders. Raises CorruptedError, ProjectError for a key column without a token domain, and the
    errors of the three loaders.
    """
    served = LoadedRelease(release, scorer(release), views(release.views), token_domains())
    for feature_input in served.scorer.spec.features:
        view = served.views.find_view(feature_input.view)
        feature = view.find_feature(feature_input.name) if view is not None else None
        if view is None or feature is None or feature.type != feature_input.type:
            raise CorruptedError(
                f"{release.subject} uses the feature {feature_input.name}, which its views do not define",
                fix="do not serve this release",
            )
        if served.scorer.spec.keys.get(view.name) != view.keys:
            raise CorruptedError(
                f"{release.subject} and its views define different keys for {view.name}",
                fix="do not serve this release",
            )
    for view in served.views_used:
        require_token_domains(view, served.token_domains)
    # Score once, so that everything is in memory before the first request.
    with guard_plugin_code(f"{release.subject} cannot score an empty row", fix="do not serve this release"):
        served.scorer.score({})
    return served


def collect_token_domains(contracts: Iterable[DataContract]) -> TokenDomains:
    """Collect the token domains that the contracts declare, by column name."""
    domains_by_column: dict[str, set[str]] = {}
    for column in (column for contract in contracts for column in contract.columns if column.domain):
        domains_by_column.setdefault(column.name, set()).add(str(column.domain))
    return {name: frozenset(domains) for name, domains in domains_by_column.items()}


def require_token_domains(view: FeatureViewSpec, token_domains: TokenDomains) -> None:
    """Raise ProjectError for a key column without a token domain, because any token would be accepted for it."""
    for column in view.keys:
        if not token_domains.get(column):
            raise ProjectError(
                f"the key {column} of {view.name} has no token domain: no contract has a token column of that name",
                fix="use the contract's column name in the dbt models and in the views",
            )
