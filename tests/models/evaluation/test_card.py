from tests.builders.model_files import SPEC
from tests.builders.synthetic_world import candidate, model, scores
from wellspring.models.evaluation import card
from wellspring.records.models import SubgroupMetrics


def test_a_card_says_what_a_reader_must_know():
    small = SubgroupMetrics(
        column="claim:plan", value="gold", rows=40, enough_rows=False, figures={"positive_share": 0.2}
    )
    built = candidate(scores=scores(subgroups=(small,)))
    page = card.write_model_card(model(), built, SPEC, importance=[1.0, 5.0, 0.0])
    for words in (
        f"# denials: candidate {built.id}", "Will this claim be denied as submitted?", "from a score of 0.40 on",
        "**pass**", "| AUC | 0.7000 | 0.6900 to 0.7100 |", "(too small to evaluate)",
        "Better than the best baseline by +0.050",
        built.artifact, built.environment, "contract:medical_claim@1.0.0", "gap of 25 days",
        "TreeSHAP", "a model of 4 features and billing_npi as a category", "| commit | none",
    ):  # fmt: skip
        assert words in page
    assert "**Development**" not in page
    assert "**Development**" in card.write_model_card(model(), built, SPEC, importance=None, mode="development")
    looks_at = page.partition("Most important features")[2]
    assert looks_at.index("claim:kind") < looks_at.index("claim:amount")
    assert "history:known" not in looks_at
