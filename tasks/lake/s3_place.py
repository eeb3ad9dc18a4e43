"""A lake on any S3: objects through boto3, conditional writes for whatever two runs could contend for.

``If-None-Match: *`` and ``If-Match`` of PutObject are what the storage must honour; Delta's commits need them too
(`aws_conditional_put=etag`). Their answers may be lost and the request repeated, so that a refusal is believed only
after a look at what is there.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tasks.core.addresses import in_the_clear
from tasks.core.errors import LakeError, UsageError
from tasks.core.text import one_line
from tasks.lake.cache import FileCache
from tasks.lake.lease import Lease
from tasks.lake.places import DeafStorageError, Entry, Held, Teller
from tasks.lake.s3_location import S3Location

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TOLD = re.compile(r"<Code>([^<]{1,80})</Code>\s*(?:<Message>([^<]{1,200}))?")
_ADVICE = "What is finished is kept. Run the same command again when the storage answers."
#: Requests at a time when files are fetched, and keys that one request removes.
_FETCHERS, _REMOVED = 8, 1000
#: Attempts of one request (500, 503, time-outs), by boto3 and by delta-rs; seconds without an answer.
_ATTEMPTS, _CONNECT_S, _ANSWER_S = 6, 10, 60
#: What botocore raises beside answers: the last two where what it is told of credentials is too old or no JSON.
_FAULTS = (BotoCoreError, OSError, RuntimeError, ValueError)
#: Conditions that do not hold of an object that is there.
_UNTRUE = {"If-None-Match": "*", "If-Match": f'"{"0" * 32}"'}
_DEAF_ADVICE = (
    "Use a storage, or a newer version of it, that honours conditional writes (If-None-Match, If-Match); "
    "a proxy in between must pass the headers on."
)
#: Attempts to read the body of an answer; seconds between attempts of a conditional write that meets another one.
_BODIES, _CONFLICT_S = 3, (0.05, 0.2, 0.8, 2.0)


class S3Place:
    """A lake below one prefix of one bucket."""

    def __init__(self, location: S3Location) -> None:
        if location.endpoint and in_the_clear(location.endpoint) and not location.allow_http:
            raise UsageError(
                f"the S3 endpoint {location.endpoint} is not encrypted",
                advice="Use https, or allow it (NIGHTWARDEN_S3_ALLOW_HTTP=1) where nobody else is on the wire.",
            )
        self._location = location
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._session = boto3.Session(
            aws_access_key_id=location.access_key.reveal() if location.access_key else None,
            aws_secret_access_key=location.secret_key.reveal() if location.secret_key else None,
            region_name=location.region,
        )
        config = Config(
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            connect_timeout=_CONNECT_S,
            read_timeout=_ANSWER_S,
            max_pool_connections=4 * _FETCHERS,
            s3={"addressing_style": "path"} if location.endpoint else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._s3: Any = self._session.client(
            "s3", endpoint_url=location.endpoint, region_name=self._region, config=config
        )
        # Asked once more just before each request is signed, they are those that it bears.
        self._s3.meta.events.register("before-sign.s3", self._remember)
        #: Every key and token that was used: what an error quotes of them is taken out.
        self._known: set[str] = {k.reveal() for k in (location.access_key, location.secret_key) if k is not None}
        told = hashlib.sha256(f"{location.endpoint or ''}|{location}".encode()).hexdigest()[:16]
        self._cache = FileCache(location.cache / told, location.cache_bytes)

    def __str__(self) -> str:
        return str(self._location)

    @property
    def uri(self) -> str:
        """As ``Place`` says."""
        return str(self._location)

    @property
    def root(self) -> Path:
        """As ``Place`` says."""
        return self._cache.root

    @property
    def is_here(self) -> bool:
        """As ``Place`` says."""
        return False

    @property
    def lock_is_sure(self) -> bool:
        """As ``Place`` says."""
        return False

    @property
    def _region(self) -> str:
        return self._location.region or self._session.region_name or "us-east-1"

    def delta_options(self) -> dict[str, str] | None:
        """As ``Place`` says."""
        options = {
            "aws_region": self._region,
            "aws_conditional_put": "etag",
            "max_retries": str(_ATTEMPTS - 1),
            "retry_timeout": f"{_ATTEMPTS * _ANSWER_S}s",
            "connect_timeout": f"{_CONNECT_S}s",
            "timeout": f"{_ANSWER_S}s",
        }
        if self._location.endpoint:
            options |= {"aws_endpoint": self._location.endpoint, "aws_virtual_hosted_style_request": "false"}
            # http that was not allowed is to loopback: the others are refused above.
            options["aws_allow_http"] = str(self._location.endpoint.lower().startswith("http://")).lower()
        for name, value in zip(("access_key_id", "secret_access_key", "session_token"), self._secrets(), strict=False):
            if value:
                options[f"aws_{name}"] = value
        return options

    def _secrets(self) -> tuple[str | None, ...]:
        """Access key, secret key, session token: as they are now, for some of them expire."""
        try:
            credentials = self._session.get_credentials()
            frozen = credentials.get_frozen_credentials() if credentials is not None else None
        except (ClientError, *_FAULTS) as e:
            raise LakeError(
                f"no credentials for {self}: {type(e).__name__}", advice="Renew them, then run again."
            ) from e
        if frozen is None:
            raise LakeError(
                f"there are no credentials for {self}",
                advice="Configure both keys by reference, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
        found = (frozen.access_key, frozen.secret_key, frozen.token)
        self._known.update(filter(None, found))
        return found

    def _remember(self, **_told: Any) -> None:
        self._secrets()

    def plain(self, error: Exception) -> str:
        """As ``Place`` says."""
        text = _ANSI.sub("", str(error)).replace("\u21b3", "")
        if told := _TOLD.search(text):
            text = f"{told[1]}: {told[2] or ''}".removesuffix(": ")
        # To ask for credentials here would renew them, and fail with another error where that is what failed.
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, "…")
        return one_line(" ".join(text.split()), 300)

    # -- objects ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> bytes:
        """As ``Place`` says."""
        return self._get(key)

    def tail(self, key: str, size_bytes: int) -> bytes:
        """As ``Place`` says."""
        return self._get(key, Range=f"bytes=-{size_bytes}")

    def _get(self, key: str, **more: str) -> bytes:
        return self._got(key, **more)[1]

    def _got(self, key: str, **more: str) -> tuple[dict[str, Any], bytes]:
        """The answer and its body. boto3 repeats a request, but not one whose answer ends in the middle."""
        for left in range(_BODIES - 1, -1, -1):
            with self._asked(key):
                told = self._s3.get_object(**self._at(key), **more)
                try:
                    return told, told["Body"].read()
                except (BotoCoreError, OSError):
                    if not left:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def exists(self, key: str) -> bool:
        """As ``Place`` says."""
        try:
            with self._asked(key):
                self._s3.head_object(**self._at(key))
        except FileNotFoundError:
            return False
        return True

    def write(self, key: str, data: bytes) -> None:
        """As ``Place`` says."""
        with self._asked(key):
            self._s3.put_object(**self._at(key), Body=data)

    def create(self, key: str, data: bytes) -> bool:
        """As ``Place`` says."""
        return self.put_if(key, data, "") is not None

    def put_if(self, key: str, data: bytes, tag: str) -> str | None:
        """Write if the object still has this tag (empty: is not there); the new tag, or None. ``data`` is unique.

        Raises LakeError too when others write it all the time and nobody gets through.
        """
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        for pause_s in (*_CONFLICT_S, None):
            try:
                with self._asked(key):
                    new: str = self._s3.put_object(**self._at(key), Body=data, **condition)["ETag"]
                    return new
            except FileNotFoundError:
                return None  # it had a tag, and is gone
            except FileExistsError:
                found = self.look(key)
            if found is not None and found[1] == data:
                return found[0].tag  # the answer to an earlier attempt was lost
            if (found[0].tag if found is not None else "") != tag:
                return None
            # 409: another write of it was under way, and nobody has won.
            if pause_s is not None:
                time.sleep(pause_s)
        raise LakeError(f"{self}/{key} cannot be written: others are writing it", advice=_ADVICE)

    def check_conditions(self) -> None:
        """As ``Place`` says."""
        key = f"_probe/{uuid4().hex}"
        self.put_if(key, b"first", "")
        try:
            ignored = [c for c, value in _UNTRUE.items() if self._writes(key, {c.replace("-", ""): value})]
        finally:
            self.remove([key])
        if ignored:
            raise DeafStorageError(
                f"the storage of {self} ignores {' and '.join(ignored)} of PutObject: runs would write over each other",
                advice=_DEAF_ADVICE,
            )

    def _writes(self, key: str, condition: dict[str, str]) -> bool:
        """Whether an object is replaced on a condition that does not hold."""
        try:
            with self._asked(key):
                self._s3.put_object(**self._at(key), Body=b"second", **condition)
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def look(self, key: str) -> tuple[Entry, bytes, float] | None:
        """An object, its content, and its age in seconds by the storage's clock; None when it is not there."""
        try:
            told, body = self._got(key)
        except FileNotFoundError:
            return None
        changed: datetime = told["LastModified"]
        entry = Entry(key=key, size_bytes=len(body), modified_at=changed, tag=told["ETag"])
        return entry, body, (_date(told) - changed).total_seconds()

    @contextmanager
    def writing(self, key: str, *, durable: bool = True, tag: str | None = None) -> Iterator[Path]:
        """As ``Place`` says."""
        with self._cache.scratch() as tmp:
            yield tmp
            if tag is None:
                with self._asked(key):
                    self._s3.upload_file(str(tmp), self._location.bucket, self._prefix + key)
                self._cache.keep(tmp, key)
                return
            if self.put_if(key, tmp.read_bytes(), tag) is None:
                raise LakeError(f"another run has written {self}/{key} meanwhile", advice="Run the same command again.")

    def fetched(self, keys: Sequence[str]) -> list[Path]:
        """As ``Place`` says."""
        missing = [key for key in keys if not self._cache.has(key)]
        if missing:
            self._cache.make_room(keys)
            with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch") as pool:
                list(pool.map(self._fetch, missing))
        return [self._cache.root / key for key in keys]

    def _fetch(self, key: str) -> None:
        with self._cache.scratch() as tmp:
            with self._asked(key):
                self._s3.download_file(self._location.bucket, self._prefix + key, str(tmp))
            self._cache.fetched_bytes += tmp.stat().st_size
            self._cache.keep(tmp, key)

    def entries(self, prefix: str) -> Iterator[Entry]:
        """As ``Place`` says."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=self._prefix + prefix
        )
        with self._asked(prefix):
            for page in pages:
                for o in page.get("Contents", ()):
                    yield Entry(
                        key=o["Key"].removeprefix(self._prefix),
                        size_bytes=o["Size"],
                        modified_at=o["LastModified"],
                        tag=o["ETag"],
                    )

    def remove(self, keys: Iterable[str]) -> None:
        """As ``Place`` says."""
        left = list(keys)
        self._cache.drop(left)
        for n in range(0, len(left), _REMOVED):
            objects = [{"Key": self._prefix + key} for key in left[n : n + _REMOVED]]
            with self._asked(left[n]):
                told = self._s3.delete_objects(Bucket=self._location.bucket, Delete={"Objects": objects, "Quiet": True})
            if failed := told.get("Errors"):
                raise LakeError(
                    f"{len(failed)} objects of {self} could not be removed: {one_line(str(failed[0].get('Code')), 60)}",
                    advice=_ADVICE,
                )

    def now(self) -> datetime:
        """As ``Place`` says."""
        with self._asked(""):
            return _date(self._s3.list_objects_v2(Bucket=self._location.bucket, Prefix=self._prefix, MaxKeys=1))

    @contextmanager
    def lock(self, wait_s: float, tell: Teller) -> Iterator[Held]:
        """As ``Place`` says."""
        with Lease(self, "_lock").held(wait_s, tell) as lease:
            yield lease

    def holder(self) -> str | None:
        """As ``Place`` says."""
        return Lease(self, "_lock").holder()

    # -- asking -------------------------------------------------------------------------------------------------

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._location.bucket, "Key": self._prefix + key}

    @contextmanager
    def _asked(self, key: str) -> Iterator[None]:
        """Raises FileNotFoundError, FileExistsError (a condition did not hold) or LakeError in boto3's place."""
        try:
            yield
        except ClientError as e:
            code = str(e.response.get("Error", {}).get("Code", ""))
            if code in ("NoSuchKey", "404"):
                raise FileNotFoundError(key) from None
            # 409: another conditional write of the same object is under way.
            if code in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise FileExistsError(key) from None
            raise LakeError(f"{self}: {self.plain(e)}", advice=_remedy(code)) from None
        except _FAULTS as e:
            if isinstance(e, FileNotFoundError | FileExistsError):
                raise
            raise LakeError(f"{self} cannot be reached: {self.plain(e)}", advice=_ADVICE) from None
        except boto3.exceptions.Boto3Error as e:
            raise LakeError(f"{self}: {self.plain(e)}", advice=_ADVICE) from None


def _remedy(code: str) -> str:
    if code == "NoSuchBucket":
        return "Make the bucket first, and look at the lake's address."
    if code in ("NotImplemented", "501"):
        return _DEAF_ADVICE
    if code in ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
        return "Look at the credentials: they must list, read, write and delete below the prefix."
    return _ADVICE


def _date(told: Any) -> datetime:
    """When the storage answered, by its own clock."""
    text = told["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(text).astimezone(UTC) if text else datetime.now(UTC)
