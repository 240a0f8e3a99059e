"""What happened, and how well."""
