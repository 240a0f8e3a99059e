"""Run services and project code with separate users, few capabilities and restricted file access."""
