"""Who is asking: a short-lived login for each process."""
