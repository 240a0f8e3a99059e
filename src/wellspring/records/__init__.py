"""The words of the house: frozen types that cross a wall between wings, and nothing that does work."""
