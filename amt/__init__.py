"""Read, decode and embed music with an Anticipatory Music Transformer. Knows nothing of HTTP."""
