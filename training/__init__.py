"""Train the bundled model, and measure it."""
