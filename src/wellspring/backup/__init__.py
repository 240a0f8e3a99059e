"""Back up all state of a project while it runs, verify a backup, and restore it into an empty folder."""
