"""Keep online rows in Redis or Valkey, in the layout of Feast."""
