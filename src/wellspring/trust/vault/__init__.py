"""The interface of the enclave: its services, their protocol, and its database."""
