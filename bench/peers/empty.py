"""A BentoML service that does nothing, to compare the time to start with.

bentoml serve peers.empty:Empty
"""

from __future__ import annotations

import bentoml


@bentoml.service(workers=1)
class Empty:
    @bentoml.api
    def nothing(self) -> str:
        return ""
