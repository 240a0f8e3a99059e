"""Build the scanner of a project: its detector packs, found by entry point, and its own detectors."""

from __future__ import annotations

import re

from wellspring.errors import ProjectError
from wellspring.plugins import PluginRegistry
from wellspring.project import Project
from wellspring.settings import DetectorSettings, DlpSettings
from wellspring.trust.dlp.checksums import CHECKSUMS
from wellspring.trust.dlp.detector import Detector, DetectorPack, PiiPattern
from wellspring.trust.dlp.scanner import PiiScanner

ENTRY_POINT_GROUP = "wellspring.detector_packs"


def load_scanner(project: Project) -> PiiScanner:
    """Build the scanner of a project. Raises ProjectError for an unknown pack, or a detector that cannot be used."""
    return build_scanner(project.dlp)


def build_scanner(settings: DlpSettings) -> PiiScanner:
    """Build a scanner from [dlp]. Raises ProjectError, also if a detector does not find its own examples."""
    registry = PluginRegistry(ENTRY_POINT_GROUP, DetectorPack, noun="detector pack")
    own_detectors = [_build_detector(name, own) for name, own in settings.detectors.items()]
    detectors = [*own_detectors, *(detector for name in settings.packs for detector in registry.load(name).detectors)]
    kinds = [detector.kind for detector in detectors]
    if repeated := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise ProjectError(
            f"the detector {repeated[0]!r} is defined twice", fix=f"rename [dlp.detectors.{repeated[0]}], or remove it"
        )
    return PiiScanner(detectors)


def _build_detector(name: str, settings: DetectorSettings) -> Detector:
    import polars as pl

    if settings.checksum is not None and settings.checksum not in CHECKSUMS:
        raise ProjectError(
            f"[dlp.detectors.{name}]: unknown checksum {settings.checksum!r}", fix=f"use {' or '.join(CHECKSUMS)}"
        )
    pattern = PiiPattern(f"(?:{settings.pattern})", not_before="[0-9a-z]", not_after="[0-9a-z]")
    checksum = CHECKSUMS[settings.checksum] if settings.checksum is not None else None
    detector = Detector(name, (pattern,), checksum)
    try:
        scanner = PiiScanner([detector])
        missed = [
            example
            for example in settings.examples
            if not (scanner.find_pii(example) and scanner.scan_column(pl.Series([example])).counts)
        ]
    except (re.error, pl.exceptions.ComputeError):
        raise ProjectError(
            f"[dlp.detectors.{name}]: the pattern cannot be compiled",
            fix="write it without look-around, back-references and named groups",
        ) from None
    if missed:
        raise ProjectError(
            f"[dlp.detectors.{name}] does not find its example {missed[0]!r}",
            fix="correct the pattern, the checksum or the example",
        )
    return detector
