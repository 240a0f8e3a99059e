"""File formats: bytes of a drop -> an Arrow table of the rows as delivered."""
