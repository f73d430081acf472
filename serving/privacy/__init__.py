"""What is allowed, and how a request is taken in without leaving a trace. Knows nothing of models."""
