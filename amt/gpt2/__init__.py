"""Run GPT-2 on a device. Knows nothing of music; is told vocabulary ranges and lengths."""
