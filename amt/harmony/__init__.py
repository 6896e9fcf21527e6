"""Keys and chords: what they are called, which pitches they hold, and which a piece implies. No torch."""
