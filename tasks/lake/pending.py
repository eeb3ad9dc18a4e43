"""The write-ahead log of a lake: a change of its tables is prepared in a folder, claims a number, and is then finished
by whoever comes next (``tasks.lake.publish`` says how).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from tasks.core.errors import LakeError
from tasks.core.identity import FP_VERSION
from tasks.lake.lake import Lake
from tasks.lake.places import Entry
from tasks.lake.schema import SCHEMA_VERSION

T = TypeVar("T")
#: What nobody refers to is left alone for so long: a process that sleeps may wake, a reader may still be reading.
LEFT_ALONE = timedelta(hours=24)
#: Called with the name of each step just before it is taken; tests kill the process there.
Watcher = Callable[[str], None]
_ADVICE = "Nothing is lost: finished scans are kept. Run the same command again."


def pending(lake: Lake) -> dict[str, list[Entry]]:
    """Publishes that did not end, by their folder, oldest first."""
    found: dict[str, list[Entry]] = {}
    for entry in lake.place.entries("_pending/"):
        found.setdefault("/".join(entry.key.split("/")[:2]), []).append(entry)
    return dict(sorted(found.items()))


def committed(lake: Lake, folder: str, entries: Sequence[Entry]) -> bool:
    """Whether a pending publish has its number, so that it must be finished."""
    if all(e.key != f"{folder}/COMMIT" for e in entries):
        return False
    try:
        return lake.place.read(_claim_key(folder)).decode() == folder
    except FileNotFoundError:
        return False


def is_old(lake: Lake, entries: Sequence[Entry]) -> bool:
    """Whether nobody has written there for so long that nobody will."""
    return lake.place.now() - max(e.modified_at for e in entries) > LEFT_ALONE


def new_folder(seq: int) -> str:
    """A folder for a publish that takes this number; nobody else has it."""
    return f"_pending/{seq:012d}-{uuid4().hex[:12]}"


def _claim_key(folder: str) -> str:
    return f"_commits/{folder.removeprefix('_pending/').partition('-')[0]}"


def commit(lake: Lake, folder: str, seq: int, run: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Say what the folder holds. It becomes a run when its number is claimed."""
    plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in run.items()}
    told = {"seq": seq, "run": plain, **more}
    lake.place.write(f"{folder}/COMMIT", json.dumps(told).encode())
    return told


def claim(lake: Lake, folder: str, seq: int) -> None:
    """Take the run's number; from here on the publish is finished by whoever comes next.

    Raises LakeError when another run has it, or has taken the lake over: nothing is published then.
    """
    slept = "another run has taken the lake over while this one slept"
    # Who slept for a day finds its folder thrown away.
    ours = not lake.lost() and lake.place.exists(f"{folder}/COMMIT")
    if not ours or not lake.place.create(_claim_key(folder), folder.encode()):
        raise LakeError(f"{slept}; run {seq} is not ours", advice=_ADVICE)
    # A claim is forgotten only when ``runs`` has a higher number (``tasks.lake.gc``): a look after claiming is sure.
    if lake.store.applied("runs") >= seq:
        drop(lake, folder)
        raise LakeError(f"{slept}; run {seq} was another one, and what was prepared is dropped", advice=_ADVICE)


def is_anothers(lake: Lake, told: Mapping[str, Any]) -> bool:
    """Whether ``runs`` has the number of a claimed folder with another run: whose claim was forgotten meanwhile."""
    return lake.store.applied("runs") >= int(told["seq"]) and not _has_row(lake, told["run"]["run_id"])


def drop(lake: Lake, folder: str) -> None:
    """Remove a folder that is nothing; first what says that there is something to finish."""
    lake.place.remove([f"{folder}/COMMIT"])
    lake.place.remove([e.key for e in lake.place.entries(f"{folder}/")])


def free_number(lake: Lake) -> None:
    """Give back the next number if the folder that has it is gone: nobody could ever publish again.

    Its run may have slept until its folder was thrown away, just between looking at it and claiming the number. Where
    a lock can be lost it may even be about to write, so that it is given a day.
    """
    key = _claim_key(new_folder(lake.store.applied("runs") + 1))
    try:
        folder = lake.place.read(key).decode()
    except FileNotFoundError:
        return
    if lake.place.exists(f"{folder}/COMMIT"):
        return
    mine = [e for e in lake.place.entries("_commits/") if e.key == key]
    if mine and (lake.place.lock_is_sure or is_old(lake, mine)):
        lake.place.remove([key])


def commit_of(lake: Lake, folder: str) -> dict[str, Any]:
    """The marker of a pending publish. Raises LakeError when it is damaged: nothing is thrown away; and
    FileNotFoundError when somebody has finished the publish meanwhile."""
    try:
        told = json.loads(lake.place.read(f"{folder}/COMMIT"))
        return {"seq": int(told["seq"]), "run": {**told["run"], "run_id": told["run"]["run_id"]}, **told}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise LakeError(f"{lake.place}/{folder} cannot be read", advice="Restore the lake from a backup.") from e


def own_run(source: str, *, seq: int, key_id: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    """The row of ``runs`` of something the lake does to itself: it looks at no repository."""
    now = datetime.now(UTC)
    return {
        "run_id": uuid4().hex, "seq": seq, "started_at": now, "finished_at": now, "state": "Completed",
        "sources": [source], "filters": json.dumps(filters), "config_digest": "", "versions": "{}", "sandbox": "none",
        "repositories": 0, "expected": 0, "tools_started": 0, "gaps": 0, "outcomes": "{}", "findings_opened": 0,
        "findings_fixed": 0, "duration_s": 0.0, "scan_s": 0.0, "key_id": key_id, "fp_version": FP_VERSION,
        "schema_version": SCHEMA_VERSION,
    }  # fmt: skip


def run_row(told: Mapping[str, Any]) -> dict[str, Any]:
    """The row of ``runs`` of a marker, its times as times."""
    row = dict(told["run"])
    return row | {c: datetime.fromisoformat(row[c]) for c in ("started_at", "finished_at")}


def expect_row(lake: Lake, run_id: str, seq: int) -> None:
    """``runs`` has the number already: by an earlier try of the same run, or its claim was forgotten long ago."""
    if not _has_row(lake, run_id):
        raise LakeError(f"run {seq} is another one; this one slept too long", advice=_ADVICE)


def unless_finished(lake: Lake, told: Mapping[str, Any], take: Callable[[], T]) -> T | None:
    """What ``take`` returns, which reads the files of a claimed folder; None when they are gone because somebody else
    has finished the run meanwhile. Raises LakeError when the number turns out to be another run's."""
    try:
        return take()
    except FileNotFoundError:
        expect_row(lake, told["run"]["run_id"], int(told["seq"]))
        return None


def _has_row(lake: Lake, run_id: str) -> bool:
    return bool(lake.store.read("runs", None, {"run_id": [run_id]}, ["run_id"]).num_rows)
