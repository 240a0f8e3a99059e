"""Authorization, identities, keys, tokens, the vault and the ledger."""
