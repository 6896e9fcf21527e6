"""Turn scores into sound. The libraries for it are optional: tinysoundfont to play, soundfile to write."""
