"""A Valkey server, for the suite of online stores."""

from tests.builders.valkey import running

BUILDER = running
