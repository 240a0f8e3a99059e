"""The one memory: a journal per process, one sequencer, a Merkle log in tiles, and a witness that holds a copy.

An entry's life: `journal` makes it durable, `sequencer` gives it its place in the `tree` and has the checkpoint
signed and cosigned by the `witness`; `index` answers questions and can be made again; `audit` checks everything.
"""
