"""The lock of a lake on S3: an object that its holder renews, and that another run takes over when it is not renewed.

Ages are told by the storage (Last-Modified and Date of one answer); clocks of two machines are never compared. Every
write is conditional on what was read, so of several that try at once one wins. The object stays; who is done marks it
as free. A holder that slept through its lease finds out at its next heartbeat, or by its own clock before that.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from tasks.core.errors import LakeError
from tasks.lake.places import Teller, Waiting, card, named

if TYPE_CHECKING:
    from tasks.lake.s3_place import S3Place


class Lease:
    """One run's claim on the lock object. Seconds are class attributes, so that a test may shorten them."""

    #: A lease that was not renewed for so long is free.
    EXPIRES_S = 60.0
    #: It is renewed so often.
    BEAT_S = 10.0
    #: So long before it expires its holder stops trusting it: requests take time.
    MARGIN_S = 15.0
    #: A run that waits looks so often.
    POLL_S = 2.0

    def __init__(self, place: S3Place, key: str) -> None:
        self._place, self._key = place, key
        self._card = {**card(), "token": uuid4().hex}
        self._beats = 0
        self._tag = ""
        self._renewed = 0.0
        self._gone = False
        self._stop = threading.Event()

    @property
    def lost(self) -> bool:
        """Whether another run may have taken the lake."""
        return self._gone or time.monotonic() - self._renewed > self.EXPIRES_S - self.MARGIN_S

    @contextmanager
    def held(self, wait_s: float, tell: Teller) -> Iterator[Lease]:
        """Take the lease, renew it while the block lasts, give it up. Raises LakeError naming the holder."""
        waiting = Waiting(str(self._place), wait_s, tell)
        while (holder := self._try()) is not None:
            waiting.on(holder, self.POLL_S)
        beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        beating.start()
        try:
            yield self
        finally:
            self._stop.set()
            beating.join()
            if not self._gone:
                with suppress(LakeError):  # it expires by itself
                    self._write(free=True)

    def _try(self) -> str | None:
        """Take it if it is free; else who holds it."""
        return self.holder() or (None if self._write() else "one that was quicker")

    def holder(self) -> str | None:
        """Who has it at this moment; None when it is free."""
        found = self._place.look(self._key)
        if found is None:
            self._tag = ""
            return None
        entry, body, age_s = found
        told = _read(body)
        self._tag = entry.tag
        return None if told.get("free") or age_s > self.EXPIRES_S else named(told)

    def _write(self, *, free: bool = False) -> bool:
        """Write our card if nobody else has since. ``_renewed`` counts from before the request: it may take long."""
        began = time.monotonic()
        self._beats += 1
        told = {**self._card, "beat": str(self._beats), **({"free": "yes"} if free else {})}
        tag = self._place.put_if(self._key, json.dumps(told).encode(), self._tag)
        if tag is None:
            return False
        self._tag, self._renewed = tag, began
        return True

    def _beat(self) -> None:
        while not self._stop.wait(self.BEAT_S):
            try:
                if not self._write():
                    self._gone = True
                    return
            except LakeError:
                continue  # ``lost`` tells when it has lasted too long


def _read(body: bytes) -> dict[str, str]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in told.items()} if isinstance(told, dict) else {}
