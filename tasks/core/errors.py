"""One base error; every subclass carries advice. Caught in one place: ``flows.cli``."""

from __future__ import annotations


class NightwardenError(Exception):
    """Base of every error that is shown to a user.

    ``message`` says what happened and where, ``advice`` what to do about it. Neither may ever hold a secret
    value or unescaped repository text.
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}\n  {self.advice}" if self.advice else self.message

    def in_one_line(self) -> str:
        """What happened and what to do about it, as sentences of a line."""
        ends = "" if self.message.endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{ends} {self.advice}" if self.advice else self.message


class UsageError(NightwardenError):
    """The call or the configuration is wrong; nothing was started (exit code 2)."""


class ScanGapError(NightwardenError):
    """One repository or scan could not be done; becomes a row with ``reason_code``, the run goes on."""

    def __init__(self, reason_code: str, detail: str, *, advice: str = "") -> None:
        super().__init__(f"{reason_code}: {detail}", advice=advice)
        self.reason_code = reason_code
        self.detail = detail


class LakeError(NightwardenError):
    """The lake cannot be read or written, or belongs to another key or a newer version."""


class ToolMissingError(NightwardenError):
    """A tool is not installed or its environment was changed."""


class SecretError(NightwardenError):
    """A reference to a secret leads to none: the store is not there, refuses, or has no such entry."""


class ForgeError(NightwardenError):
    """A forge could not be asked; becomes the reason of its source, the run goes on.

    ``reason_code`` is ``forge_unreachable``, ``forge_denied`` or ``forge_limited``, or ``cancelled`` with the run.
    """

    def __init__(self, reason_code: str, message: str, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.reason_code = reason_code


class FeedError(NightwardenError):
    """A feed of advisories could not be taken; the last good snapshot stays and the feed's row says why.

    ``reason_code`` is ``feed_unreachable``, ``feed_invalid``, ``feed_backwards`` or ``disk_full``.
    """

    def __init__(self, reason_code: str, message: str, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.reason_code = reason_code
