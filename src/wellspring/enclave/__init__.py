"""The enclave: a separate process (not a hardware enclave), the only one that reads personal data."""
