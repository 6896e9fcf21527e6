"""Read and write MIDI files and their notes. No torch."""
