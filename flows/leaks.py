"""The secrets that patrols have found, for rotations to compare theirs with; and the answer to leaks that ends a
patrol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flows.each_task import active
from flows.lake_location import lake_location, lake_to_read
from flows.means import key_if_there
from flows.rotations import log_of, opened, section_of, told_to_lake
from flows.settings import Settings
from tasks.core.errors import NightwardenError
from tasks.core.text import one_line
from tasks.lake.lake import Lake
from tasks.patrol.leaks import KnownSecrets, incomparable, read_known
from tasks.patrol.rotation_run import RotationRun


def known_secrets(settings: Settings) -> KnownSecrets | None:
    """What the lake knows of secrets in repositories; None: leaks are switched off. Nothing is made. Where it cannot be
    compared with anything, it says why: no secret is said not to have leaked then."""
    if not section_of(settings).leaks:
        return None
    try:
        key, place = key_if_there(settings), lake_location(settings)
        if not Lake(place, "").exists:
            return KnownSecrets(key=key)  # nobody has looked yet, or found anything
        if key is None:
            return incomparable(f"there is no HMAC key at {settings.key_path}, by which the lake names secrets")
        return read_known(Lake.open(place, key_id=key.key_id).snapshot(), key)
    except NightwardenError as e:
        return incomparable(e.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What was done about leaks, in one line, and whether somebody must look at it."""

    sentence: str
    has_gaps: bool
    lines: tuple[str, ...] = ()


def is_answering(settings: Settings, run_id: str) -> bool:
    """Whether a patrol is followed by an answer: secrets are rotated here, it is not switched off, and the run has
    opened a finding of a secret, or cannot be asked whether it did."""
    section = section_of(settings)
    if not section.secrets or not section.leaks:
        return False
    now = datetime.now(UTC)
    months = {f"{at:%Y-%m}" for at in (now - timedelta(days=1), now)}  # it may have ended just before one did
    try:
        where = {"run_id": [run_id], "part": months, "kind": ["secret"]}
        rows = lake_to_read(settings).snapshot().table("finding_events", where, ["status"])
        told = rows.column("status").to_pylist()
    except NightwardenError:
        return True  # whoever compares says why not
    return any(status in ("open", "reopened") for status in told)


def answer_leaks(settings: Settings) -> Answered:
    """Rotate those secrets that patrols have found, and nothing else, in a task run of its own. Raises nothing that
    goes wrong with it: that is in the answer."""
    from tasks import rotate as rotating

    section = section_of(settings)
    try:
        with opened(settings) as managed:
            run = RotationRun(
                managed, log_of(settings), configured=section.secrets, workers=section.concurrency,
                known=known_secrets(settings),
            )  # fmt: skip
            try:
                with active(rotating.ACTIVE, run) as run_id:
                    state = rotating.answer_leaks(run_id, return_state=True)
            finally:
                is_published, lake = told_to_lake(run, settings)
            sentence = f"leaks: {run.sentence()}; {lake}"
            rotating.done_artifact(run, sentence)
            troubles = tuple(f"{d.name}: {d.reason_code}: {d.detail}" for d in run.troubles())
            is_whole = is_published and (state.is_completed() or bool(troubles))
            has_gaps = bool(troubles or run.unread() or not is_whole)
            return Answered(sentence=sentence, has_gaps=has_gaps, lines=troubles)
    except Exception as e:  # the patrol is published, and its state tells; words of others may hold what must not be
        why = e.message if isinstance(e, NightwardenError) else type(e).__name__
        return Answered(sentence=f"leaks: could not be answered: {one_line(why, 300)}", has_gaps=True)
