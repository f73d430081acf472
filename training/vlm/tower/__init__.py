"""Teaching a vision tower that begins at random to see, without the language model's forward pass."""
