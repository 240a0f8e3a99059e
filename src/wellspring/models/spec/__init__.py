"""The model definition that a user writes, and the model artifact that training writes."""
