"""Statements of IAM's policies: what they reach, and that nothing else is taken for one."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from tasks.rotation.iam_statements import Answer, Pattern, PolicyError, read_policy
from tests.iam_by_hand import glob
from tests.thorough import examples

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/db-AbCdEf"


def statement(**changes: Any) -> Any:
    told = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*", **changes}
    return read_policy({"Version": "2012-10-17", "Statement": [{k: v for k, v in told.items() if v is not None}]})[0]


def test_patterns_match_what_the_slow_way_says() -> None:
    random = Random()
    for _ in range(examples(8000)):
        pattern = "".join(random.choice("ab:*?") for _ in range(random.randint(0, 7)))
        text = "".join(random.choice("ab:") for _ in range(random.randint(0, 8)))
        assert Pattern(pattern, is_arn=True).matches(text) == glob(pattern, text, parts=True), (pattern, text)
        if "?" not in pattern:
            assert Pattern(pattern, is_arn=False).matches(text) == glob(pattern, text, parts=False), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True), (ARN, True), (ARN.lower(), False), ("arn:aws:secretsmanager:*:*:secret:shop/*", True),
        ("arn:aws:secretsmanager:*:123456789012:secret:shop/db-??????", True), (f"{ARN}?", False),
        ("arn:aws:secretsmanager:*:secret:shop/db-*", True), ("arn:aws:*", True), ("arn:*db-AbCdEf", False),
        ("arn:aws:secretsmanager:eu-*:123456789012:secret:*", True), ("arn:aws:s*r:*:secret:*f", True),
        ("arn:aws:secretsmanager:us-*:123456789012:secret:*", False), ("", False), ("arn:aws:s3:::*", False),
    ],
)  # fmt: skip
def test_resources_are_arns_with_wildcards(pattern: str, matches: bool) -> None:
    assert (statement(Resource=pattern).reach(ARN) is Answer.YES) == matches
    other = statement(Resource=None, NotResource=pattern)
    assert (other.reach(ARN) is Answer.YES) != matches


def test_no_pattern_takes_long() -> None:
    """Backtracking would not end before the world does."""
    hostile = Pattern("*a" * 1500 + "b", is_arn=True)
    assert not hostile.matches("a" * 2000)
    assert Pattern("?*" * 1000, is_arn=True).matches("a" * 2000)


@pytest.mark.parametrize(
    ("action", "has"),
    [
        ("secretsmanager:GetSecretValue", True), ("SecretsManager:getsecretvalue", True), ("secretsmanager:Get*", True),
        ("*", True), ("*:*", True), ("secretsmanager:GetSecretValu?", True), ("secretsmanager:Put*", False),
        ("s3:*", False), ("secretsmanager:GetSecret", False), (["s3:*", "secretsmanager:*"], True), ([], False),
    ],
)  # fmt: skip
def test_actions_are_compared_without_case(action: Any, has: bool) -> None:
    assert statement(Action=action).has_action("secretsmanager:GetSecretValue") == has
    assert statement(Action=None, NotAction=action).has_action("secretsmanager:GetSecretValue") != has


def test_what_depends_on_the_request_is_not_known() -> None:
    assert statement(Condition={"StringEquals": {"aws:PrincipalTag/team": "shop"}}).reach(ARN) is Answer.MAYBE
    assert statement(Condition={}).reach(ARN) is Answer.YES
    varied = statement(Resource="arn:aws:secretsmanager:*:*:secret:${aws:username}/*")
    assert varied.reach(ARN) is Answer.MAYBE
    assert varied.reach("arn:aws:s3:::x") is Answer.NO
    others = statement(Resource=None, NotResource="*:secret:${aws:username}/*")
    assert (others.reach(ARN), others.reach("arn:aws:s3:::x")) == (Answer.MAYBE, Answer.YES)
    for text, reach in (("a${*}c", Answer.NO), ("abc", Answer.YES)):
        assert statement(Resource=text).reach("abc") is reach
    assert statement(Resource="a${*}c").reach("a*c") is Answer.YES
    old = read_policy({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "x${aws:username}"}})[0]
    assert (old.reach("xbob"), old.reach("x${aws:username}")) == (Answer.NO, Answer.YES)


def test_requests_without_tls_are_never_made() -> None:
    for operator in ("Bool", "BoolIfExists"):
        for value in ("false", False, ["false"]):
            deny = statement(Effect="Deny", Condition={operator: {"aws:SecureTransport": value}})
            assert deny.reach(ARN) is Answer.NO
    assert statement(Condition={"Bool": {"aws:SecureTransport": "true"}}).reach(ARN) is Answer.YES
    assert statement(Condition={"Bool": {"aws:SecureTransport": ["true", "false"]}}).reach(ARN) is Answer.MAYBE


@pytest.mark.parametrize(
    "document",
    [
        None, 5, "", "{", "[]", "null", "[" * 100_000, b"\xff\xfe", {}, {"Statement": "x"}, {"Statement": None},
        {"Statement": [5]}, {"Statement": [{}]}, {"Statement": [{"Effect": "allow", "Action": "*", "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Action": "*"}]}, {"Statement": [{"Effect": "Allow", "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Action": [5], "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Action": {"a": "b"}, "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": "x"}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": "x"}}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"a": {}}}}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "arn:aws:iam::1:root"}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"New": "x"}}]},
        {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": [None]}}]},
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused_and_not_quoted(document: Any) -> None:
    with pytest.raises(PolicyError) as error:
        read_policy(document)
    assert len(str(error.value)) < 100


def test_a_policy_is_read_from_its_text_and_one_statement_needs_no_list() -> None:
    told = {"Statement": {"Effect": "Deny", "NotAction": "s3:*", "NotResource": "*", "NotPrincipal": {"AWS": "1"}}}
    read = read_policy(json.dumps(told))
    assert len(read) == 1 and (read[0].not_actions, read[0].not_resources, read[0].not_principals) == (True,) * 3
    assert read[0].principals == (("AWS", "1"),) and not read[0].allows
    assert read_policy('{"Statement": []}') == ()
