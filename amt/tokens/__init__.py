"""Turn notes into the tokens that the model reads, and back. No torch."""
