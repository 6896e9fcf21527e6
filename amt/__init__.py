"""Anticipatory Music Transformer: the music and the model. Knows nothing of HTTP."""
