"""The scanner of the tests: the packs that ship, and one number of a project's own."""

from __future__ import annotations

from wellspring.settings import DetectorSettings, DlpSettings
from wellspring.trust.dlp.registry import build_scanner

MEMBER_ID = DetectorSettings(pattern="(?:M|WSP)[0-9]{9}", examples=("M123456789", "WSP000000001"))
SCANNER = build_scanner(DlpSettings(detectors={"member_id": MEMBER_ID}))
