"""What the house may ask of the enclave."""
