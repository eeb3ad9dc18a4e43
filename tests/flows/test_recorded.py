"""A Prefect API that does not answer, before a run and after it. The client is a mock."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flows import recorded
from tasks.scan import SUBMITTED

FLOW_RUN = uuid4()
STATE: Any = SimpleNamespace(state_details=SimpleNamespace(flow_run_id=FLOW_RUN))


class MockClient:
    """Answers as told: an exception is raised, a number is how many task runs have ended."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __enter__(self) -> MockClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_task_runs(self, **_: Any) -> list[Any]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [SimpleNamespace(state=SimpleNamespace(is_final=lambda: True))] * answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr(recorded, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _seconds: None))
    monkeypatch.setitem(SUBMITTED, FLOW_RUN, 3)


def asked(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> int | None:
    client = MockClient(*answers)
    monkeypatch.setattr(recorded, "get_client", lambda **_: client)
    runs = recorded.task_runs(STATE)
    return runs.missing if runs is not None else None


def test_a_mocked_api_that_is_gone_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, httpx.ConnectError("refused"), 1, httpx.ReadError("reset"), 3) == 0


def test_of_a_mocked_api_that_stays_away_nobody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, httpx.ConnectError("refused")) is None


def test_a_mocked_api_that_lost_task_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, 2) == 1
