"""Silence for the libraries whose own logs would tell what a request held.

At debug level Pillow logs EXIF values, uvicorn's access log holds paths with their query strings, and python-multipart
logs the bytes it stumbles over; Pillow warns of large pictures with their size. Called once the server has set up its
logging.
"""

from __future__ import annotations

import logging
import warnings

from PIL import Image

TALKATIVE = ("PIL", "python_multipart", "uvicorn.access", "httpx", "httpcore")


def silence() -> None:
    """Let nothing below CRITICAL pass from the loggers in `TALKATIVE` and their children, and no warning of large
    pictures: the gateway has limits of its own."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
        for child, logger in logging.Logger.manager.loggerDict.items():
            if child.startswith(f"{name}.") and isinstance(logger, logging.Logger):
                logger.setLevel(logging.NOTSET)
