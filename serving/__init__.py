"""The gateway: one process, one port, every public route. Starts without torch, and knows nothing of training."""
