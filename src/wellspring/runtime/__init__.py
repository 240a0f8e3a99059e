"""What every process needs: confinement, users, and loading the project's own Python files."""
