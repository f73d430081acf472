"""From a signed bundle to a network that answers: find, verify, load, warm. Knows nothing of HTTP."""
