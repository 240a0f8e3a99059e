"""The separate process that alone sees people: it answers vault's port over two sockets."""
