"""The sequencer: a process of its own, the only one that signs for the log and writes its folder."""
