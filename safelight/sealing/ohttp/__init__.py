"""Oblivious HTTP, both ends: encapsulated requests and answers (RFC 9458), whole or in chunks.

Chunked messages follow draft-ietf-ohai-chunked-ohttp-08. Knows nothing of sockets, clocks or files.
"""

KEYS_PATH, GATEWAY_PATH = "/ohttp-keys", "/ohttp"
KEYS_TYPE = "application/ohttp-keys"
KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key"
DATE_PROBLEM = "https://iana.org/assignments/http-problem-types#date"
