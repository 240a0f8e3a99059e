"""The one memory: journals, a sequencer, a Merkle tree in tiles, a witness."""
