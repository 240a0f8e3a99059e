"""The features of this plan: of a claim, of the provider who bills it, and of the member.

Standard Feast definitions. Each view is a table that dbt builds; `known_since` is when the payer's system knew a row,
so that a model is trained only on what was known when a claim came in. Predictions give their reasons by description.
`ttl`: a prediction from an older edition is marked stale.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String

OWNER = "denials@health-plan.example"

claim = Entity(name="claim", join_keys=["claim_id"], value_type=ValueType.STRING, description="a claim, by its token")
provider = Entity(
    name="provider", join_keys=["billing_npi"], value_type=ValueType.STRING, description="who bills, by their token"
)
member = Entity(
    name="member", join_keys=["member_id"], value_type=ValueType.STRING, description="a member, by their token"
)


def whole(name: str, what: str) -> Field:
    """A whole number."""
    return Field(name=name, dtype=Int64, description=what)


def number(name: str, what: str) -> Field:
    """A number, a share or an amount in dollars."""
    return Field(name=name, dtype=Float64, description=what)


def flag(name: str, what: str) -> Field:
    """Yes or no."""
    return Field(name=name, dtype=Bool, description=what)


def text(name: str, what: str, categories: str = "") -> Field:
    """A code. categories: all that it may be, where the list is closed; else a model takes those that it has met."""
    return Field(name=name, dtype=String, description=what, tags={"categories": categories} if categories else {})


claim_features = FeatureView(
    name="claim_features",
    entities=[claim],
    ttl=timedelta(days=7),
    owner=OWNER,
    source=FileSource(path="claim_features", timestamp_field="known_since"),
    schema=[
        text("claim_type", "professional or institutional", "professional, institutional"),
        text("place_of_service_code", "where a professional service was given"),
        text("bill_type_code", "the kind of bill of an institutional claim"),
        text("revenue_center_code", "the department of the first line of an institutional claim"),
        text("hcpcs_code", "the procedure of the first line"),
        text("hcpcs_modifier_1", "the modifier of the first line"),
        text("diagnosis_code_1", "the principal diagnosis"),
        whole("diagnosis_count", "how many diagnoses are given, at most three"),
        text("payer", "the payer"),
        text("plan", "the plan that the claim names"),
        flag("in_network_flag", "the provider is in the plan's network"),
        flag("is_replacement", "the claim corrects an earlier one"),
        number("charge_amount", "what is charged in all, in dollars"),
        number(
            "charge_to_usual",
            "the charge for one unit of the first line, over the mean charge for this procedure in the last year",
        ),
        whole("line_count", "how many lines the claim has"),
        whole("unit_count", "how many units the claim has"),
        whole("modifier_count", "how many lines carry a modifier"),
        whole("uncoded_line_count", "how many lines have no procedure code"),
        whole("service_month", "the month of the service, 1 to 12"),
        whole("received_month", "the month in which the claim was recorded, 1 to 12"),
        whole("service_to_receipt_days", "days from the end of the service until the claim was recorded"),
        whole("stay_days", "days from the first to the last day of the service"),
        flag("is_covered", "the member was covered on the day of service, as known when the claim was recorded"),
        whole(
            "coverage_gap_days", "days between the service and the nearest covered day, as known then; 0 when covered"
        ),
        flag("before_coverage", "the service lies before any coverage that was known then"),
        whole(
            "days_since_coverage_start", "days from the start of the coverage until the service; empty when not covered"
        ),
        whole("coverage_spans", "how many spans of coverage were known of the member"),
        flag(
            "plan_matches_coverage",
            "the plan that the claim names is the one that covered the day of service, as known then",
        ),
        number(
            "auth_quoted_share_365d",
            "the share of claims for this procedure in this plan that quoted a prior authorization in the last year",
        ),
        flag("auth_required", "claims for this procedure in this plan usually quote a prior authorization"),
        text(
            "auth_state",
            "what the payer's files say of the prior authorization that the claim quotes, as known then",
            "none, not_on_file, other_code, expired, valid",
        ),
        whole(
            "auth_units_left", "approved units that are left after this claim; empty without an authorization on file"
        ),
        number(
            "modifier_share_365d", "the share of claims for this procedure that carried a modifier in the last year"
        ),
        flag("modifier_missing", "the first line has no modifier, and claims for this procedure usually have one"),
        number(
            "deductible_remaining",
            "what was left of the member's deductible in dollars; empty when nothing was taken from it this year",
        ),
        number(
            "oop_remaining",
            "what was left of the member's yearly limit on own payments in dollars; empty when untouched this year",
        ),
        number(
            "benefit_used_share",
            "how much of the yearly limit for this kind of therapy was used up; empty for other procedures",
        ),
        flag(
            "duplicate_of_prior",
            "an earlier claim has the same member, day, procedure and biller, and this one is no correction",
        ),
        whole(
            "same_day_other_claims", "earlier claims of the same biller for the member's same day and other procedures"
        ),
        whole("days_since_last_claim", "days since the member's last claim was recorded; empty for the first one"),
        whole("member_claims_90d", "the member's claims of the last 90 days"),
        whole("member_denials_90d", "the member's denials that became known in the last 90 days"),
        whole("member_denials_365d", "the member's denials that became known in the last year"),
        whole(
            "member_other_payer_denials_365d", "the member's denials of the last year because another payer comes first"
        ),
        whole("same_care_claims_365d", "the member's claims for the same procedure in the last year"),
        whole(
            "same_care_denials_90d",
            "the member's denials of the same procedure, for reasons about the care, known in the last 90 days",
        ),
        whole(
            "same_care_denials_365d",
            "the member's denials of the same procedure, for reasons about the care, known in the last year",
        ),
        number("recent_denial_rate", "the share of all decisions of the last 30 days that were denials"),
        number("procedure_denial_rate_90d", "the denial rate of this procedure, known in the last 90 days"),
        number(
            "provider_procedure_denial_rate_180d",
            "the denial rate of this procedure at this biller, known in the last 180 days",
        ),
        number(
            "diagnosis_procedure_coding_denial_rate_365d",
            "how often this procedure with this diagnosis was denied for its coding, known in the last year",
        ),
        number(
            "plan_procedure_denial_rate_365d", "the denial rate of this procedure in this plan, known in the last year"
        ),
        number(
            "plan_procedure_benefit_denial_rate_365d",
            "how often this plan denied this procedure as not covered, known in the last year",
        ),
        number(
            "plan_procedure_auth_denial_rate_365d",
            "how often this plan denied this procedure for want of a prior authorization, known in the last year",
        ),
    ],
)

provider_history = FeatureView(
    name="provider_history",
    entities=[provider],
    ttl=timedelta(days=2),
    owner=OWNER,
    source=FileSource(path="provider_history", timestamp_field="known_since"),
    schema=[
        whole("claims_30d", "the provider's claims of the last 30 days"),
        whole("claims_90d", "the provider's claims of the last 90 days"),
        whole("outcomes_30d", "decisions on the provider's claims that became known in the last 30 days"),
        whole("outcomes_90d", "decisions on the provider's claims that became known in the last 90 days"),
        whole("outcomes_365d", "decisions on the provider's claims that became known in the last year"),
        whole("denials_30d", "the provider's denials that became known in the last 30 days"),
        whole("denials_90d", "the provider's denials that became known in the last 90 days"),
        number("denial_rate_30d", "the provider's denial rate over the last 30 days"),
        number("denial_rate_90d", "the provider's denial rate over the last 90 days"),
        number("denial_rate_365d", "the provider's denial rate over the last year"),
        number(
            "denial_rate_trend",
            "how far the provider's denial rate of the last 30 days lies above that of the last year",
        ),
        number(
            "documentation_denial_rate_30d",
            "how often the provider was denied for missing documentation in the last 30 days",
        ),
        number(
            "necessity_denial_rate_30d", "how often the provider was denied for medical necessity in the last 30 days"
        ),
        number("coding_denial_rate_30d", "how often the provider was denied for its coding in the last 30 days"),
        number(
            "documentation_denial_rate_90d",
            "how often the provider was denied for missing documentation in the last 90 days",
        ),
        number(
            "necessity_denial_rate_90d", "how often the provider was denied for medical necessity in the last 90 days"
        ),
        number("coding_denial_rate_90d", "how often the provider was denied for its coding in the last 90 days"),
        number("coverage_denial_rate_90d", "how often the provider was denied for coverage in the last 90 days"),
        number(
            "authorization_denial_rate_90d",
            "how often the provider was denied for want of a prior authorization in the last 90 days",
        ),
        number(
            "benefit_denial_rate_90d",
            "how often the provider was denied for a benefit that is not there in the last 90 days",
        ),
        number(
            "filing_denial_rate_90d", "how often the provider was denied for late or double filing in the last 90 days"
        ),
        number(
            "documentation_denial_rate_365d",
            "how often the provider was denied for missing documentation in the last year",
        ),
        number(
            "necessity_denial_rate_365d", "how often the provider was denied for medical necessity in the last year"
        ),
        whole(
            "records_missing_30d",
            "the provider's denials of the last 30 days with the remark that records are missing (RARC N706)",
        ),
        number(
            "days_to_adjudicate_30d", "the provider's mean days until a decision, of those known in the last 30 days"
        ),
        number(
            "days_to_adjudicate_90d", "the provider's mean days until a decision, of those known in the last 90 days"
        ),
        number(
            "modifier_missing_share_30d",
            "of the provider's claims that ask for a modifier, the share that lacked it in the last 30 days",
        ),
        number(
            "modifier_missing_share_90d",
            "of the provider's claims that ask for a modifier, the share that lacked it in the last 90 days",
        ),
        number("institutional_share_90d", "the provider's share of institutional claims in the last 90 days"),
        number("out_of_network_share_90d", "the provider's share of claims outside the network in the last 90 days"),
        number("replacement_share_90d", "the provider's share of corrected claims in the last 90 days"),
        number("charge_mean_90d", "the provider's mean charge of a claim in the last 90 days, in dollars"),
        number("days_to_file_mean_90d", "the provider's mean days from service to receipt in the last 90 days"),
    ],
)

member_history = FeatureView(
    name="member_history",
    entities=[member],
    ttl=timedelta(days=2),
    owner=OWNER,
    source=FileSource(path="member_history", timestamp_field="known_since"),
    schema=[
        whole("claims_90d", "the member's claims of the 90 days before their last event"),
        whole("claims_365d", "the member's claims of the year before their last event"),
        whole("denials_90d", "the member's denials known in the 90 days before their last event"),
        whole("denials_365d", "the member's denials known in the year before their last event"),
        whole("outcomes_365d", "decisions on the member's claims known in the year before their last event"),
        whole(
            "coverage_denials_365d",
            "the member's denials for coverage or another payer, in the year before their last event",
        ),
        whole(
            "other_payer_denials_365d",
            "the member's denials because another payer comes first, in the year before their last event",
        ),
        whole("coverage_spans", "spans of coverage that were known of the member, all in all"),
        flag("is_covered", "the member was covered on the day of their last event, as known then"),
        whole("coverage_gap_days", "days from the member's last event to the nearest covered day; 0 when covered"),
        number("deductible_remaining", "what was left of the member's deductible at their last event, in dollars"),
        number(
            "oop_remaining",
            "what was left of the member's yearly limit on own payments at their last event, in dollars",
        ),
        number("therapy_used_share", "how much of the member's yearly limit for physical medicine was used up"),
        number("mental_health_used_share", "how much of the member's yearly limit for mental health was used up"),
    ],
)

denials = FeatureService(name="denials", features=[claim_features, provider_history, member_history])
