"""Who may, what stays secret, what can be proved."""
