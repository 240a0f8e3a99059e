"""Store the latest feature rows in Redis or Valkey, in the layout of Feast."""
