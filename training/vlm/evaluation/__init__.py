"""What there is to know of a trained reader: how much it reads right, how sure it is of it, how fast. Never asks a model."""
