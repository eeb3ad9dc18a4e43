"""Gathers what a forge tells of settings: a refusal of one topic is a gap of that topic and costs no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.core.errors import ForgeError
from tasks.core.forge_settings import PROTECTION, REVIEWS, ForgeSettings


class Told:
    """Facts and refusals of one repository. ``status`` tells the status of the last refusal."""

    def __init__(self, status: Callable[[], int]) -> None:
        self._status = status
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._unread: dict[str, str] = {}

    def ask(self, topic: str, needs: str, ask: Callable[[], Mapping[str, Any] | None]) -> None:
        """Ask for a topic; None, or a refusal, means that the credential lacks what ``needs`` says.

        Raises ForgeError for whatever else is wrong: it may pass, and is no answer.
        """
        facts = None
        try:
            facts = ask()
        except ForgeError as e:
            # A credential that is refused as such says nothing of a right.
            if e.reason_code != "forge_denied" or self._status() not in (403, 404):
                raise
        if facts is None:
            self._unread[topic] = f"the forge does not tell; it takes {needs}"
        else:
            self._facts[topic] = facts

    def never(self, topic: str, why: str) -> None:
        """A topic that this forge's API tells nobody."""
        self._unread[topic] = why

    def settings(self) -> ForgeSettings:
        """All of it. Whether a review is required is a topic of its own, for some forges tell the rest without it."""
        protection = self._facts.get(PROTECTION, {})
        if PROTECTION in self._unread:
            self._unread[REVIEWS] = self._unread[PROTECTION]
        elif protection.get("protected") and protection.get("reviews") is None:
            self._unread[REVIEWS] = "the forge does not tell whether a review is required (GitLab: Premium tells)"
        return ForgeSettings(facts=self._facts, unread=self._unread)
