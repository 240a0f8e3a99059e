"""Find the kinds of sources that are installed, and open the sources of a project."""

from __future__ import annotations

from importlib.util import find_spec

from wellspring.data.sources.port import FileSource, SourceContext, SourceKind
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.plugins import PluginRegistry
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.settings import SOURCE_KINDS_GROUP
from wellspring.trust.secrets.port import SecretStore


def list_source_kinds() -> list[str]:
    """List the names of the kinds of sources that packages have registered."""
    return _registry().names()


def load_source_kind(name: str) -> SourceKind:
    """Load a kind of source. Raises ProjectError: unknown, registered twice, or not importable."""
    return _registry().load(name)


def open_source(project: Project, name: str, *, secrets: SecretStore, clock: Clock) -> FileSource:
    """Open a source of the project with its own credentials.

    Raises NotFound (no such source), Refused (no credentials are stored), ProjectError (a package is missing).
    """
    settings = project.source_settings(name)
    kind = load_source_kind(settings.kind)
    if missing := missing_packages(kind):
        raise ProjectError(
            f"{project.locate('sources', name, 'kind')}: kind = {settings.kind!r} needs {', '.join(missing)}, "
            "which is not installed",
            fix=kind.install,
        )
    credentials: dict[str, str] = {}
    if (path := settings.secret_path(name)) is not None:
        try:
            credentials = secrets.read_secret(path)
        except NotFound:
            raise Refused(
                f"source {name!r} has no credentials", fix=f"store them with `wellspring source login {name}`"
            ) from None
    return kind.open(SourceContext(name, settings, project.root, credentials, clock))


def missing_packages(kind: SourceKind) -> list[str]:
    """List the modules of a kind of source that are not installed."""
    return [package for package in kind.packages if find_spec(package) is None]


def _registry() -> PluginRegistry[SourceKind]:
    return PluginRegistry(SOURCE_KINDS_GROUP, SourceKind, noun="kind of source")
