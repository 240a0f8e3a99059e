"""The schema can be created again without an effect."""

from wellspring.trust.vault.postgres_schema import VAULT_SCHEMA


def test_each_statement_is_repeatable():
    statements = [statement.strip() for statement in VAULT_SCHEMA.split(";") if statement.strip()]
    assert len(statements) >= 8
    assert all(" IF NOT EXISTS " in statement for statement in statements)
