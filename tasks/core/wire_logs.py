"""Keeps the libraries that carry secrets from logging what they carry.

At DEBUG botocore logs the body of every answer (``botocore.parsers``) and the headers it signs (``botocore.auth``),
urllib3 each path. Nobody who wants a verbose log of this program means that.
"""

from __future__ import annotations

import logging

_CARRIERS = ("botocore", "boto3", "urllib3", "hvac", "requests")


def hush() -> None:
    """Raise the level of these loggers, and of those below them, to INFO. Call it before every request."""
    known = logging.root.manager.loggerDict
    below = [n for n in list(known) if n.startswith(tuple(f"{c}." for c in _CARRIERS))]
    for name in _CARRIERS:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)
    for name in below:
        logger = logging.getLogger(name)
        if logging.NOTSET < logger.level < logging.INFO:
            logger.setLevel(logging.INFO)
