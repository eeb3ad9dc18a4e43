"""Every call of AWS that a rotation makes, refused in every way that AWS has for it: botocore is handed the answer
instead of sending the call, as its Stubber does. What the rotation does before and after it is played by moto's strict
emulator, so that it is seen what is left, and that the next run finishes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from tasks.core.reasons import REASONS
from tasks.core.rotations import RotationError
from tests.aws_rotations import Aws, aws_of_tests
from tests.rotation_fakes import Hook
from tests.thorough import THOROUGH, thorough
from tests.unit.test_rotation_aws_machine import Place

CANARY = "c4nary-value"
#: What any service may answer: code, HTTP status, reason at the store, reason at the target, whether it passes.
ALIKE = (
    ("AccessDenied", 403, "backend_denied", "target_denied", False),
    ("ThrottlingException", 400, "backend_limited", "target_unreachable", True),
    ("InternalServiceError", 500, "backend_unreachable", "target_unreachable", True),
    ("ExpiredTokenException", 400, "backend_denied", "target_denied", False),
)
#: What the references of the operations name beside. Reason None: it is gone on with.
SECRET = (
    ("ResourceNotFoundException", 400, "secret_missing", False),
    ("InvalidRequestException", 400, "backend_error", False),  # scheduled for deletion, or of another service
    ("PreconditionNotMetException", 400, "backend_error", False),
)
OWN: dict[str, tuple[tuple[str, int, str | None, bool], ...]] = {
    "DescribeSecret": SECRET,
    "GetSecretValue": (*SECRET[2:], ("DecryptionFailure", 400, "backend_denied", False)),
    "ListSecretVersionIds": (*SECRET, ("InvalidNextTokenException", 400, "backend_error", False)),
    "PutSecretValue": (
        *SECRET, ("LimitExceededException", 400, "backend_limited", False),
        ("EncryptionFailure", 400, "backend_denied", False), ("DecryptionFailure", 400, "backend_denied", False),
    ),
    "UpdateSecretVersionStage": (*SECRET[2:], ("LimitExceededException", 400, "backend_limited", False)),
    "TagResource": SECRET,
    "ListAccessKeys": (("NoSuchEntity", 404, "target_missing", False),),
    "CreateAccessKey": (
        ("NoSuchEntity", 404, "target_missing", False), ("LimitExceeded", 409, "target_error", True),
        ("ServiceFailure", 500, "target_unreachable", True),
    ),
    "UpdateAccessKey": (("LimitExceeded", 409, "target_error", False),),
    "DeleteAccessKey": (("LimitExceeded", 409, "target_error", False),),
    "GetAccessKeyLastUsed": (("NoSuchEntity", 404, None, False),),
    "GetCallerIdentity": (("RegionDisabledException", 403, "target_error", False),),
}  # fmt: skip
TARGET = frozenset(op for op in OWN if "Key" in op or op == "GetCallerIdentity")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


class Refusing:
    """Answers the first call of an operation with an error; ``hits`` of them were. botocore does not send it then."""

    def __init__(self, aws: Aws, operation: str, code: str, status: int) -> None:
        self.hits = 0
        self._told = {
            "Error": {"Code": code, "Message": f"arn:{CANARY}"}, "ResponseMetadata": {"HTTPStatusCode": status}
        }  # fmt: skip
        self._status = status
        self._operation = operation
        self._events = aws.session.session().events
        self._clients = [*aws.session._clients.values()]

    def answer(self, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        if self.hits:
            return None
        self.hits += 1
        return type("Answer", (), {"status_code": self._status}), self._told

    def __enter__(self) -> Refusing:
        for events in (self._events, *(c.meta.events for c in self._clients)):
            events.register_first(f"before-call.*.{self._operation}", self.answer)
        return self

    def __exit__(self, *_: object) -> None:
        for events in (self._events, *(c.meta.events for c in self._clients)):
            events.unregister(f"before-call.*.{self._operation}", self.answer)


def place_for(aws: Aws, operation: str) -> Place:
    """Where a rotation makes a call; there are keys to delete only after the first one."""
    place = Place(aws, "keys" if operation in TARGET else "pair")
    if operation in TARGET:
        place.finish("the first")
    return place


def rotated(place: Place, slot: str, hook: Hook = lambda _name: None) -> RotationError | None:
    """A rotation to its end, or as far as it goes."""
    for _ in range(2):
        try:
            place.rotate(slot, hook)
        except RotationError as e:
            return e
        place.aws.strict.later(61)
    return None


def cases(operation: str) -> Iterator[tuple[str, int, str | None, bool]]:
    yield from OWN[operation]
    if THOROUGH:
        for code, status, store, target, passes in ALIKE:
            yield code, status, target if operation in TARGET else store, passes


@pytest.mark.parametrize(
    "operation", [op if op in ("PutSecretValue", "CreateAccessKey") else pytest.param(op, marks=thorough) for op in OWN]
)
def test_stub_every_way_to_refuse_a_call_has_its_reason_and_the_next_run_finishes(aws: Aws, operation: str) -> None:
    place = place_for(aws, operation)
    for code, status, reason, is_passing in cases(operation):
        before = place.current()
        with Refusing(aws, operation, code, status) as refusing:
            error = rotated(place, code)
        assert refusing.hits == 1, "it is called in a rotation"
        place.check()
        if reason is None:
            assert error is None
        else:
            assert error is not None, f"{operation} {code} was passed over"
            assert (error.reason_code, error.is_passing) == (reason, is_passing), f"{operation} {code}: {error}"
            assert error.reason_code in REASONS and error.advice and CANARY not in str(error) + error.advice
            assert error.__cause__ is None and error.__context__ is None
        place.finish(code)
        assert place.current() != before


def test_stub_a_token_that_is_known_with_another_value_is_no_error(aws: Aws) -> None:
    """ResourceExistsException: somebody else has made the version under our token; theirs is staged."""
    place = Place(aws, "pair")
    with Refusing(aws, "PutSecretValue", "ResourceExistsException", 400) as refusing:
        assert rotated(place, "monday") is None
    assert refusing.hits == 1
    place.is_done()


@pytest.mark.parametrize("operation", ["PutSecretValue", pytest.param("UpdateSecretVersionStage", marks=thorough)])
def test_moto_a_secret_that_is_marked_for_deletion_meanwhile_is_missing_and_goes_on_when_restored(
    aws: Aws, operation: str
) -> None:
    place, deleted = Place(aws, "pair"), list[str]()

    def delete(name: str) -> None:
        if name == f"before {operation}" and not deleted:
            deleted.append(name)
            aws.people.delete_secret(SecretId=place.secret)

    with pytest.raises(RotationError) as error:
        place.rotate(hook=delete)
    assert error.value.reason_code in ("secret_missing", "backend_error") and not error.value.is_passing
    with pytest.raises(RotationError) as error:
        place.rotate()
    assert error.value.reason_code == "secret_missing"
    aws.people.restore_secret(SecretId=place.secret)
    place.check()
    place.finish()


@pytest.mark.parametrize(
    "operation", [op if op == "CreateAccessKey" else pytest.param(op, marks=thorough) for op in OWN]
)
def test_mocked_an_answer_that_does_not_come_after_the_call_was_done(aws: Aws, operation: str) -> None:
    place, lost = place_for(aws, operation), list[str]()

    def lose(name: str) -> None:
        if name == f"after {operation}" and not lost:
            lost.append(name)
            raise ReadTimeoutError(endpoint_url=f"https://{CANARY}.example")

    error = rotated(place, "monday", lose)
    part = "target" if operation in TARGET else "backend"
    assert error is not None and (error.reason_code, error.is_passing) == (f"{part}_unreachable", True)
    place.check()
    place.finish("monday")
