"""A secret of AWS Secrets Manager as a backend: versions that never change, and labels that are moved between them.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/

* A version is made once under a token that is its id (``PutSecretValue``: the same token with another value fails).
* A label is on one version at most. ``UpdateSecretVersionStage`` moves it, and fails if it is not on the version that
  ``RemoveFromVersionId`` names, or is on another one and none is named: that is our compare-and-set.
* ``AWSCURRENT`` is the value in force, ``AWSPENDING`` the staged one; it stays on it until the rotation has ended.
  ``AWSPREVIOUS`` is moved by AWS. A version is made with a label of its own, since without any it would be in force at
  once; that label goes when the version is staged. There may be twenty labels.
* The token of a rotation's value is its id. Where one rotation has more than one version (an intention and then what
  was issued, a refusal), the others have something behind it. A rotation of which a version is there, none of them
  staged or about to be, has ended.
* AWS does not tell when a label was moved: a tag keeps it, ``VERSION TIME``, set after the promotion by AWS's clock,
  of which answers tell whole seconds: it is the next one, so that no grace is shorter than was promised. Where it is
  missing it is set when somebody looks, and the grace begins then. It stays, and tells the age of the value as long as
  that is the version in force.

The key of KMS and the replicas stay as they are; only the primary region is written to. ``RotateSecret`` is not used,
and a secret that AWS or another service rotates is refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.core.rotations import ConflictError, Held, Mark, RotationError, SpentError
from tasks.core.secret_refs import Secret
from tasks.rotation.aws_session import AwsError, AwsSession, aws_time
from tasks.rotation.secret_text import marked_text, read_text, write_text

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
#: The tag that tells since when which version is in force.
SINCE_TAG = "nightwarden:in-force-since"
#: What our own labels begin with; the version's id follows.
OWN_LABEL = "nightwarden-"
#: By so much the clocks of AWS may differ: what is later was written by nobody who knew.
_AHEAD = timedelta(minutes=5)
#: Times that what others do meanwhile is followed in one call.
_ROUNDS = 10
#: A label is not where it was expected, or the version to move it to is gone.
_MOVED = frozenset({"InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretPlace:
    """A secret: its name or ARN."""

    secret_id: str


class SecretsManagerBackend:
    """The backend of one secret."""

    def __init__(self, aws: AwsSession, place: SecretPlace) -> None:
        self._aws = aws
        self._id = place.secret_id

    @property
    def place(self) -> str:
        """See ``Backend``."""
        return f"aws-sm:{self._id}"

    def current(self) -> Held:
        """See ``Backend``. Raises RotationError(rotation_elsewhere): AWS or another service rotates it."""
        for _ in range(_ROUNDS):
            about = self._described()
            version = _labelled(about, CURRENT)
            raw = self._raw(version, CURRENT) if version is not None else None
            if version is not None and raw is not None:
                return self._held_current(version, raw, about)
            if version is None:
                raise self._error("secret_missing", "no version of it is in force", "Write a first value.")
        raise self._busy()

    def staged(self) -> Held | None:
        """See ``Backend``. Raises RotationError(rotation_elsewhere): what is staged is not ours."""
        return self._pending()[1]

    def at(self, version: str) -> Held | None:
        """See ``Backend``. Of versions without labels AWS keeps some, of which it does not tell how many."""
        try:
            answer = self._call("get_secret_value", VersionId=version)
        except AwsError as e:
            if e.code != "ResourceNotFoundException":
                raise
            return None
        fields, mark = read_text(answer.get("SecretString"), self.place)
        return Held(fields=fields, version=version, mark=mark if mark is not None and _is_of(version, mark) else None)

    def stage(self, fields: Mapping[str, Secret], mark: Mark, *, over: Held | None = None) -> Held:
        """See ``Backend``."""
        rid = mark.rotation_id
        text: str | None = None
        for _ in range(_ROUNDS):
            left, there = self._pending()
            if there is not None and (over is None or over.version != there.version):
                return there
            if there is None and over is not None:
                raise SpentError
            versions = self._versions()
            _refuse_spent(rid, versions)
            if text is None:
                text = write_text(fields, mark, like=self._in_force_text() if fields else "{}", place=self.place)
            more = over is not None and over.rotation_id == rid
            token = f"{rid}-{uuid.uuid4().hex[:12]}" if more else rid
            self._tidy(versions, but=token)
            if not self._put(token, text) and not _is_prepared(token, self._versions()):
                continue  # it ended meanwhile, or others went on with it
            moved = self._moved(PENDING, to=token, away_from=left)
            self._unlabel(token)
            raw = self._raw(token, PENDING) if moved else None
            held = self._held_pending(token, raw) if raw is not None else None
            if held is not None:
                return held
        raise self._busy()

    def promote(self, staged: Held) -> Held:
        """See ``Backend``."""
        assert staged.mark is not None
        now = self.current()
        if now.rotation_id == staged.rotation_id:
            return now
        if now.version != staged.mark.base or self._was_in_force(staged):
            raise self._conflict(now, staged.mark)
        if not self._moved(CURRENT, to=staged.version, away_from=staged.mark.base):
            now = self.current()
            if now.rotation_id != staged.rotation_id:
                raise self._conflict(now, staged.mark)
        return self.current()

    def refuse(self, staged: Held, identity: str) -> bool:
        """See ``Backend``. The version before the value in force is no longer labelled ``AWSPREVIOUS`` then."""
        assert staged.mark is not None and staged.rotation_id is not None
        for _ in range(_ROUNDS):
            now = self.current()
            if now.rotation_id == staged.rotation_id:
                return False
            if now.mark is not None and now.mark.refused == staged.rotation_id:
                return True
            if now.version != staged.mark.base:
                raise self._conflict(now, staged.mark)
            raw = self._raw(now.version, CURRENT)
            if raw is None:
                continue
            mark = now.refusing(staged.rotation_id, identity=identity)
            token = f"{staged.rotation_id}-{uuid.uuid4().hex[:12]}"
            self._put(token, marked_text(raw, mark, self.place))
            self._moved(CURRENT, to=token, away_from=now.version)
            self._unlabel(token)
        raise self._busy()

    def forget(self, rotation_id: str) -> None:
        """See ``Backend``."""
        for _ in range(_ROUNDS):
            there = self.staged()
            if there is None or there.rotation_id != rotation_id:
                break
            self._moved(PENDING, to=None, away_from=there.version)
        else:
            raise self._busy()
        self._tidy(self._versions())

    def now(self) -> datetime:
        """See ``Backend``: the whole second that has begun."""
        return aws_time(self._call("describe_secret"))

    # -- what is there ------------------------------------------------------------------------------------------

    def _pending(self) -> tuple[str | None, Held | None]:
        """The version that is labelled as staged, and what is staged. A rotation by other means that ended may have
        left the label on the value in force: then nothing is staged."""
        for _ in range(_ROUNDS):
            version = _labelled(self._described(), PENDING)
            raw = self._raw(version, PENDING) if version is not None else None
            if version is None:
                return None, None
            if raw is not None:
                return version, self._held_pending(version, raw)
        raise self._busy()

    def _described(self) -> dict[str, Any]:
        """What AWS tells of the secret, if it is one that we may rotate."""
        about: dict[str, Any] = self._call("describe_secret")
        primary, region = about.get("PrimaryRegion"), str(about.get("ARN", "")).split(":")[3:4]
        if about.get("DeletedDate") is not None:
            raise self._error("secret_missing", "it is marked for deletion", "Restore it, or name another.")
        if primary is not None and region and primary != region[0]:
            raise self._error(
                "secret_missing", f"here is a replica, which cannot be written; it is replicated from {primary}",
                f"Set `region: {primary}`.",
            )  # fmt: skip
        if about.get("RotationEnabled"):
            raise self._error(
                "rotation_elsewhere", "AWS rotates it by a schedule of its own", "Switch one of the two rotations off."
            )
        if about.get("OwningService"):
            raise self._error("rotation_elsewhere", "a service of AWS owns and rotates it", "Leave it to that service.")
        return about

    def _raw(self, version: str, label: str) -> str | None:
        """The text of a version that has a label; None: it has it no longer."""
        try:
            answer = self._call("get_secret_value", VersionId=version, VersionStage=label)
        except AwsError as e:
            if e.code not in _MOVED:
                raise
            gone = _labelled(self._described(), label) != version
        else:
            text = answer.get("SecretString")
            if not isinstance(text, str):
                raise self._error("secret_shape", "it is binary, or empty", "Store a JSON object of text fields.")
            return text
        if gone:
            return None
        # AWS's own rotations label a version before it has a value.
        code = "rotation_elsewhere" if label == PENDING else "secret_missing"
        raise self._error(code, f"the version of {label} has no value", "Is it rotated by something else?")

    def _in_force_text(self) -> str | None:
        for _ in range(_ROUNDS):
            version = _labelled(self._described(), CURRENT)
            raw = self._raw(version, CURRENT) if version is not None else None
            if version is None:
                raise self._error("secret_missing", "no version of it is in force", "Write a first value.")
            if raw is not None:
                return raw
        raise self._busy()

    def _versions(self) -> dict[str, list[str]]:
        """The labels of every version that has a value, also of those without any."""
        found: dict[str, list[str]] = {}
        more: dict[str, str] = {}
        while True:
            page = self._call("list_secret_version_ids", IncludeDeprecated=True, **more)
            for version in page.get("Versions", []):
                found[str(version["VersionId"])] = list(version.get("VersionStages", []))
            if not page.get("NextToken"):
                return found
            more = {"NextToken": page["NextToken"]}

    def _held_current(self, version: str, raw: str, about: Mapping[str, Any]) -> Held:
        fields, mark = read_text(raw, self.place)
        if not fields:
            raise self._error("secret_shape", "the value in force has no fields", "Write a value.")
        if mark is not None and not _is_of(version, mark):
            mark = None  # a person wrote it, and kept the mark of the value before
        since = _noted(version, about)
        # Of a value that no rotation of ours is waiting for it is not noted: nobody knows, and nothing is written.
        if since is None and mark is not None and PENDING in about.get("VersionIdsToStages", {}).get(version, ()):
            since = self._note(version, about)
        return Held(fields=fields, version=version, mark=mark, since=since)

    def _held_pending(self, version: str, raw: str) -> Held | None:
        """A staged value; None: it is left on the value in force by a rotation by other means, which ended."""
        fields, mark = read_text(raw, self.place)
        if mark is not None and _is_of(version, mark):
            return Held(fields=fields, version=version, mark=mark)
        if _labelled(self._described(), CURRENT) == version:
            return None
        raise self._error(
            "rotation_elsewhere", f"the version of {PENDING} is not ours",
            f"See who rotates it; take the label {PENDING} away if that rotation is dead.",
        )  # fmt: skip

    def _note(self, version: str, about: Mapping[str, Any]) -> datetime:
        """Write down that a version is in force since now."""
        since = aws_time(about) + timedelta(seconds=1)
        self._call("tag_resource", Tags=[{"Key": SINCE_TAG, "Value": f"{version} {since.isoformat()}"}])
        return since

    def _was_in_force(self, staged: Held) -> bool:
        """Whether somebody went back from a value: then the version before it is in force again."""
        return PREVIOUS in self._described().get("VersionIdsToStages", {}).get(staged.version, ())

    # -- what is done -------------------------------------------------------------------------------------------

    def _put(self, token: str, text: str) -> bool:
        """Make a version with a label of its own. False: there is another one under this token."""
        try:
            self._call(
                "put_secret_value", ClientRequestToken=token, SecretString=text, VersionStages=[OWN_LABEL + token]
            )
        except AwsError as e:
            if e.code != "ResourceExistsException":
                raise
            return False
        return True

    def _moved(self, label: str, *, to: str | None, away_from: str | None) -> bool:
        """Move a label, if it is where it was expected. False: it is not; an attempt before may have moved it."""
        params = {"VersionStage": label}
        if to is not None:
            params["MoveToVersionId"] = to
        if away_from is not None:
            params["RemoveFromVersionId"] = away_from
        try:
            self._call("update_secret_version_stage", **params)
        except AwsError as e:
            if e.code not in _MOVED:
                raise
            return False
        return True

    def _unlabel(self, version: str) -> None:
        self._moved(OWN_LABEL + version, to=None, away_from=version)

    def _tidy(self, versions: Mapping[str, list[str]], *, but: str = "") -> None:
        """Take away our own labels: whoever would have gone on was killed, or goes on without them."""
        for version, labels in versions.items():
            if version != but and OWN_LABEL + version in labels:
                self._unlabel(version)

    def _call(self, operation: str, **params: Any) -> Any:
        return self._aws.call(
            "secretsmanager", operation, part="backend", about=self.place, SecretId=self._id, **params
        )

    # -- words --------------------------------------------------------------------------------------------------

    def _error(self, code: str, what: str, advice: str) -> RotationError:
        return RotationError(code, f"{self.place}: {what}", advice=advice)

    def _busy(self) -> RotationError:
        return RotationError(
            "rotation_busy", f"{self.place}: others change it faster than we can follow", is_passing=True
        )

    def _conflict(self, now: Held, mark: Mark) -> ConflictError:
        return ConflictError(
            f"{self.place}: somebody changed it (version {now.version} is in force; the rotation began with"
            f" {mark.base})",
            advice="Look at who changed it; `nightwarden rotate resume --withdraw NAME` keeps theirs.",
        )


def _labelled(about: Mapping[str, Any], label: str) -> str | None:
    """The version that has a label."""
    found = about.get("VersionIdsToStages", {})
    return next((str(version) for version, labels in found.items() if label in labels), None)


def _noted(version: str, about: Mapping[str, Any]) -> datetime | None:
    """Since when a version is in force, by our tag; None: it tells of another version, or what cannot be."""
    for tag in about.get("Tags", []):
        name, _, time = str(tag.get("Value", "")).partition(" ")
        if tag.get("Key") == SINCE_TAG and name == version:
            try:
                told = datetime.fromisoformat(time)
            except ValueError:
                continue
            if told.tzinfo is not None and told <= aws_time(about) + _AHEAD:
                return told
    return None


def _is_of(version: str, mark: Mark) -> bool:
    """Whether a rotation made this version: its own, or the one that the mark refuses."""
    return any(rid and version.startswith(rid) for rid in (mark.rotation_id, mark.refused))


def _refuse_spent(rid: str, versions: Mapping[str, list[str]]) -> None:
    """Raises SpentError: a rotation has versions, and none of them is staged or about to be."""
    ours = {v: labels for v, labels in versions.items() if v.startswith(rid)}
    if ours and not any(PENDING in labels or OWN_LABEL + v in labels for v, labels in ours.items()):
        raise SpentError


def _is_prepared(token: str, versions: Mapping[str, list[str]]) -> bool:
    """Whether a version was made to be staged and is not yet."""
    return OWN_LABEL + token in versions.get(token, ())
