"""A clock that tests turn: nothing waits really."""

from __future__ import annotations

from collections.abc import Callable

from tasks.core.secret_refs import Secret, SecretRef
from tasks.repos.forges.pacing import Timing


class FakeClock:
    """``sleep`` moves ``now``. ``on_sleep`` is called with each time slept."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = self.start = now
        self.on_sleep: Callable[[float], None] = lambda _: None

    def now(self) -> float:
        """Seconds since 1970."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Be later at once."""
        self.time += seconds
        self.on_sleep(seconds)

    @property
    def waited_s(self) -> float:
        """How long was slept."""
        return self.time - self.start

    def timing(self, *, read_s: float = 10.0) -> Timing:
        """Time limits with this clock."""
        return Timing(now=self.now, sleep=self.sleep, connect_s=5.0, read_s=read_s, answer_s=30.0)


class MemorySecrets:
    """Secrets in memory (port ``Secrets``), by the text of their reference; ``asked`` counts."""

    def __init__(self, **values: str) -> None:
        self.values = {f"env:{name}": value for name, value in values.items()}
        self.asked = 0

    def get(self, ref: SecretRef) -> Secret:
        """See the port."""
        self.asked += 1
        return Secret(self.values[str(ref)])
