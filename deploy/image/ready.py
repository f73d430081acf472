"""The container's health: exit status 0 when the gateway answers /readyz with 200. Imports next to nothing, it runs often."""

from __future__ import annotations

import http.client
import os
import sys

WITHIN_S = 4


def ready(port: int) -> bool:
    """Whether the gateway on this machine can answer requests."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if ready(int(os.environ.get("BENTOML_PORT", "3000"))) else 1)
