"""How the bundled model is made."""
