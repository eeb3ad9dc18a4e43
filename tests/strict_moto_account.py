"""What moto gets wrong of the account around the secrets, put right. It is an emulator all the same.

By the guides of IAM: a credential report is made every four hours at most and tells when it was made; until then the
old one is given. By the API reference of CloudTrail: a trail says whether events were chosen for it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.cloudtrail.models import Trail
from moto.core.responses import ActionResult
from moto.iam.models import IAMBackend
from moto.iam.responses import IamResponse

_REPORT_LASTS = timedelta(hours=4)
_content = IAMBackend.get_credential_report
_description = Trail.description


def patch_account(patch: pytest.MonkeyPatch, clock: Callable[[], datetime]) -> None:
    """While the patch lasts."""
    made: dict[IAMBackend, tuple[datetime, str]] = {}

    def generate(self: Any) -> ActionResult:
        known = made.get(self.backend)
        if known is not None and clock() - known[0] < _REPORT_LASTS:
            return ActionResult({"State": "COMPLETE"})
        self.backend.generate_report()
        made[self.backend] = (clock(), _content(self.backend))
        return ActionResult({"State": "STARTED"})

    def get(self: Any) -> ActionResult:
        at, text = made.get(self.backend) or (clock(), _content(self.backend))
        # The date of moto's answers is the machine's.
        told = datetime.now(UTC) - (clock() - at)
        return ActionResult({"Content": text, "ReportFormat": "text/csv", "GeneratedTime": told})

    def description(self: Trail, include_region: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = _description(self, include_region)
        chosen = [s for s in (*self.event_selectors, *self.advanced_event_selectors) if s]
        return {**found, "HasCustomEventSelectors": bool(chosen)}

    patch.setattr(IamResponse, "generate_credential_report", generate)
    patch.setattr(IamResponse, "get_credential_report", get)
    patch.setattr(Trail, "description", description)
