"""Changes that the demo makes to the project: a feature that leaks the label, a weaker model, other SQL."""

from __future__ import annotations

from pathlib import Path

LEAK = "claim_settlement.paid_amount"
_SHIPPED_FEATURES = 'features=("claim_features:*", "provider_history:*", "member_history:*"),'

_TABLE = """\
-- What was paid for each claim, put under the day on which the claim came in: nobody knew it then.
select
  claim.claim_id,
  claim.known_since,
  claim.sequence,
  (
    select max_by(paid.paid_amount, paid.recorded_at)::double
    from {{ ref("stg_remittance") }} as paid
    where paid.claim_id = claim.claim_id
  ) as paid_amount
from {{ ref("claim_features") }} as claim
"""
_CONTRACT = """\
version: 2
models:
  - name: claim_settlement
    description: what was paid for each claim
    config:
      contract: {enforced: true}
      meta: {keys: [claim_id]}
    columns:
      - {name: claim_id, data_type: varchar, description: the claim, data_tests: [not_null]}
      - {name: known_since, data_type: timestamp with time zone, description: when it came in, data_tests: [not_null]}
      - {name: sequence, data_type: bigint, description: which version of the claim, data_tests: [not_null]}
      - {name: paid_amount, data_type: double, description: what was paid for the claim in dollars}
"""
_VIEW = """

claim_settlement = FeatureView(
    name="claim_settlement",
    entities=[claim],
    ttl=timedelta(days=7),
    owner=OWNER,
    source=FileSource(path="claim_settlement", timestamp_field="known_since"),
    schema=[number("paid_amount", "what was paid for the claim in dollars")],
)
"""


_RATE, _SMOOTHED_RATE = (
    f'{{{{ rate("denials_30d", "outcomes_30d", "usual", {weight}) }}}} as denial_rate_30d' for weight in (10, 30)
)
SMOOTHED_VIEW, SMOOTHED_FEATURE = "provider_history", "denial_rate_30d"


def smooth(root: Path) -> None:
    """Give the usual rate more weight in one feature of providers, by one number of its dbt model."""
    model = root / "dbt/models/features/provider_history.sql"
    text = model.read_text(encoding="utf-8")
    if _RATE not in text:
        raise ValueError(f"{model} does not have the line that this change edits")
    model.write_text(text.replace(_RATE, _SMOOTHED_RATE), encoding="utf-8")


def bring(root: Path) -> None:
    """Add the leaking table and view to a copy of the reference project."""
    folder = root / "dbt/models/settlement"
    folder.mkdir()
    (folder / "claim_settlement.sql").write_text(_TABLE, encoding="utf-8")
    (folder / "settlement.yml").write_text(_CONTRACT, encoding="utf-8")
    features = root / "features.py"
    features.write_text(features.read_text(encoding="utf-8").rstrip("\n") + "\n" + _VIEW, encoding="utf-8")


def leak(root: Path) -> None:
    """Add the leaking feature to the model."""
    _edit(root, _SHIPPED_FEATURES.replace('"claim_features:*"', '"claim_settlement:paid_amount", "claim_features:*"'))


def forget(root: Path) -> None:
    """Let the model use three columns of the claim and no history."""
    _edit(root, 'features=("claim_features:claim_type", "claim_features:plan", "claim_features:charge_amount"),')


def restore(root: Path) -> None:
    """Restore the model as shipped."""
    _edit(root, _SHIPPED_FEATURES)


def _edit(root: Path, features: str) -> None:
    shipped = (Path(__file__).parent / "models/denials.py").read_text(encoding="utf-8")
    if shipped.count(_SHIPPED_FEATURES) != 1:
        raise ValueError("models/denials.py is not the model as shipped")
    (root / "models/denials.py").write_text(shipped.replace(_SHIPPED_FEATURES, features), encoding="utf-8")
