"""The signer of models, and the inference spec of a small one."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wellspring.models.spec.inference_spec import FeatureInput, InferenceSpec
from wellspring.records.decisions import ThresholdRule
from wellspring_verify import notes


class Signer:
    """The key `models`, in this process."""

    def __init__(self, seed: bytes = b"\x09" * 32) -> None:
        self._secret = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, message: bytes) -> bytes:
        return self._secret.sign(message)

    def public_key(self) -> bytes:
        return self._secret.public_key().public_bytes_raw()

    @property
    def verifier_key(self) -> notes.VerifierKey:
        return notes.VerifierKey("example.com/tiny/models", notes.KIND_LOG, self.public_key())


SPEC = InferenceSpec(
    model="denials",
    features=(
        FeatureInput(view="claim", name="amount", type="float64", description="the amount"),
        FeatureInput(view="claim", name="kind", type="string", categories=("a", "b"), description="the kind"),
        FeatureInput(view="history", name="known", type="bool", description="whether it is known"),
    ),
    task="binary",
    estimator="lightgbm",
    calibration={"kind": "platt", "a": (1.5).hex(), "b": (-0.25).hex()},
    decision_rule=ThresholdRule(labels=("pays", "denies"), threshold="0.40"),
    keys={"claim": ("claim_id",), "history": ("member_id",)},
    seed=7,
    rounds=20,
)
