"""What is made and tried before a worker is started: keys, the audit log, the stores. Knows nothing of models or BentoML."""

from __future__ import annotations

import time

from serving.privacy.access import Access
from serving.privacy.audit import Trail
from serving.privacy.gate import Gate
from serving.privacy.listeners import listening_addresses
from serving.privacy.logs import open_log
from serving.settings import Settings


def rehearse(settings: Settings) -> None:
    """Make the keys that are missing, once and not by every worker, and open what workers will, on instances of its own.

    Raises ConfigError where nobody could be answered.
    """
    open_log()
    Trail(settings, now=time.time).rehearse()
    Gate(settings, now=time.time).load()
    Access(settings, listeners=listening_addresses, now=time.time).load()
