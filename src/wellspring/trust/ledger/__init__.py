"""The ledger: one journal per process, one sequencer, a Merkle log in tiles, and a witness with a copy.

`journal` makes an entry durable; `sequencer` adds it to the `tree` and has the checkpoint signed, and cosigned by the
`witness`; `index` supports queries and can be rebuilt from the tree; `audit` checks everything.
"""
