"""Evidence packs: collect the entries that prove a story, attach documents, and seal them."""
