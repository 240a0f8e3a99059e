"""From features to an answer: a model is learned, judged by its gate, released by two people, and asked."""
