"""What a forge tells of a repository's settings, in words that all forges share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: What is asked for. The facts of each are an object: ``None`` in it is what the forge does not tell.
PROTECTION = "branch-protection"  # protected, reviews, force_push, deletion, binds_administrators, passing: who may
# pass by it and is no administrator (GitHub)
REVIEWS = "required-reviews"  # ``reviews`` of the protection; only ever unread
ADMINISTRATORS = "administrators"  # logins
OUTSIDERS = "outside-collaborators"  # logins: those who may write
TWO_FACTOR = "two-factor"  # required; of an account, told once
DEPLOY_KEYS = "deploy-keys"  # writable: ids
TOPICS = (PROTECTION, ADMINISTRATORS, OUTSIDERS, TWO_FACTOR, DEPLOY_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeSettings:
    """``facts`` by topic, and why a topic is ``unread``: what permission it takes. No topic is in both; one that is in
    neither does not concern the repository."""

    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> bytes:
        """Canonical JSON: the same settings are the same bytes."""
        whole = {"facts": self.facts, "unread": self.unread}
        return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
