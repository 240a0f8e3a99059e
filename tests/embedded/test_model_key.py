"""The key of models gets a new version by its age, and what earlier versions signed stays valid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.builders import projects
from tests.builders.recording_step import RecordingStep
from wellspring.embedded.model_key import rotate_model_key
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.errors import Refused
from wellspring.project import Project
from wellspring.settings import ModelSettings
from wellspring.trust.keys.openbao import OpenBaoKeyVersions, OpenBaoVersionedSigner

pytestmark = pytest.mark.live
MESSAGE = b"a manifest"


def test_a_new_version_signs_and_earlier_signatures_stay_valid(shared_project: Project):
    step, now = RecordingStep(), datetime.now(UTC)
    with_models = shared_project.model_copy(update={"models": ModelSettings()})
    for never in (None, ModelSettings(key_days=0)):
        late = now + timedelta(days=9_999)
        assert rotate_model_key(shared_project.model_copy(update={"models": never}), late, step=step) is None
    with projects.login_with_credential(shared_project, issue_secret_id(shared_project, "worker")) as session:
        before = OpenBaoVersionedSigner(session, "models")
        count = len(before.public_keys())
        early = before.sign(MESSAGE)
        # A key that is not old enough stays.
        assert rotate_model_key(with_models, now, step=step) is None
        assert step.entries == []
        version = rotate_model_key(with_models, now + timedelta(days=366), step=step)
        (entry,) = step.done("rotate_key")
        assert (version, entry.subject, entry.facts["version"]) == (count + 1, "key:models", count + 1)
        after = OpenBaoVersionedSigner(session, "models")
        assert after.public_keys()[1:] == before.public_keys()
        assert after.public_key() not in before.public_keys()
        Ed25519PublicKey.from_public_bytes(after.public_key()).verify(after.sign(MESSAGE), MESSAGE)
        Ed25519PublicKey.from_public_bytes(after.public_keys()[1]).verify(early, MESSAGE)
        # A job that began before the rotation signs with the version that it has read.
        Ed25519PublicKey.from_public_bytes(before.public_key()).verify(before.sign(MESSAGE), MESSAGE)
        with pytest.raises(Refused):
            OpenBaoKeyVersions(session, "models").add_version()
