"""Who may read a secret by the policies: against the slow way of ``tests.iam_by_hand``, and what the guide says."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tasks.rotation.iam_readers import CONDITIONAL, Identity, Readers
from tasks.rotation.iam_statements import read_policy
from tests.iam_by_hand import ACTION, may_read
from tests.thorough import examples

ACCOUNT, OTHER = "123456789012", "999999999999"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
SECRETS = f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:"
ARNS = [f"{SECRETS}shop/db-AbCdEf", f"{SECRETS}shop/web-AbCdEf", f"{SECRETS}pay-AbCdEf"]
_ACTIONS = [
    "*", "secretsmanager:*", "secretsmanager:Get*", "secretsmanager:GetSecretValue", "SECRETSMANAGER:getsecretvalue",
    "secretsmanager:?etSecretValue", "s3:*", "secretsmanager:Put*",
]  # fmt: skip
_RESOURCES = [
    "*", *ARNS, f"{SECRETS}shop/*", f"{SECRETS}shop/db-??????", "arn:aws:secretsmanager:*:*:secret:pay-*",
    "arn:aws:s3:::*", f"{SECRETS}*db*", "arn:aws:secretsmanager:us-east-1:*",
    "arn:aws:secretsmanager:eu*", "arn:aws:sec*",
]  # fmt: skip
_CONDITION = {"StringEquals": {"aws:PrincipalTag/team": "shop"}}


def user(name: str, *policies: str, boundary: str | None = None) -> Identity:
    return Identity(
        name=f"user/{name}", arn=f"arn:aws:iam::{ACCOUNT}:user/{name}", unique_id=f"AIDA{name.upper()}",
        policies=policies, boundary=boundary,
    )  # fmt: skip


def role(name: str, *policies: str, boundary: str | None = None) -> Identity:
    return Identity(
        name=f"role/{name}", arn=f"arn:aws:iam::{ACCOUNT}:role/path/{name}", unique_id=f"AROA{name.upper()}",
        policies=policies, boundary=boundary,
    )  # fmt: skip


def document(*statements: dict[str, Any]) -> Any:
    return read_policy({"Version": "2012-10-17", "Statement": list(statements)})


def allow(resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": ACTION, "Resource": resource, **more}


def deny(resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(resource, **more), "Effect": "Deny"}


def readers(identities: list[Identity], policy: list[Any], **documents: Any) -> tuple[str, ...]:
    return Readers(ACTION, ACCOUNT, identities, documents).of(ARNS[0], document(*policy))


def made_up(random: Random) -> dict[str, Any]:
    """An account with a few of everything that an evaluation goes by."""

    def some(values: list[Any]) -> Any:
        chosen = random.sample(values, random.randint(1, 2))
        return chosen if len(chosen) > 1 or random.random() < 0.5 else chosen[0]

    def one(*, principals: bool = False) -> dict[str, Any]:
        effect = random.choice(["Allow", "Allow", "Deny"])
        made = {
            "Effect": effect, random.choice(["Action"] * 4 + ["NotAction"]): some(_ACTIONS),
            random.choice(["Resource"] * 4 + ["NotResource"]): some(_RESOURCES),
        }  # fmt: skip
        if random.random() < 0.25:
            made["Condition"] = _CONDITION
        if principals:
            everyone = ["*"] if effect == "Deny" else []
            values = [*(p["arn"] for p in people), people[0]["id"], ROOT, ACCOUNT, *everyone]
            kind = "NotPrincipal" if effect == "Deny" and random.random() < 0.3 else "Principal"
            # What leaving out the account means is not said clearly enough to be compared.
            made[kind] = {"AWS": some([v for v in values if kind == "Principal" or v not in (ROOT, ACCOUNT)])}
        return made

    documents = {f"p{n}": [one() for _ in range(random.randint(1, 2))] for n in range(5)}
    people = []
    for n, kind in enumerate(["user", "role", "user", "role"]):
        arn = f"arn:aws:iam::{ACCOUNT}:{kind}/n{n}"
        people.append({
            "name": f"{kind}/n{n}", "arn": arn, "id": f"AIDAN{n}", "boundary": random.choice([None, None, "p3", "p4"]),
            "policies": random.sample(["p0", "p1", "p2"], random.randint(0, 2)),
        })  # fmt: skip
    policies = {arn: [one(principals=True) for _ in range(random.randint(0, 2))] for arn in ARNS}
    return {"account": ACCOUNT, "documents": documents, "people": people, "policies": policies}


def test_readers_are_those_that_the_slow_way_finds() -> None:
    random, seen = Random(), set()
    for _ in range(examples(600)):
        world = made_up(random)
        identities = [
            Identity(
                name=p["name"], arn=p["arn"], unique_id=p["id"], policies=tuple(p["policies"]), boundary=p["boundary"]
            )
            for p in world["people"]
        ]
        found = Readers(ACTION, ACCOUNT, identities, {k: document(*d) for k, d in world["documents"].items()})
        for arn in ARNS:
            names = found.of(arn, document(*world["policies"][arn]))
            for person in world["people"]:
                told = "yes" if person["name"] in names else "no"
                told = "maybe" if person["name"] + CONDITIONAL in names else told
                assert told == may_read(world, person, arn), (world, person, arn)
                seen.add(told)
    assert seen == {"yes", "no", "maybe"}


def test_a_deny_anywhere_wins() -> None:
    bob = [user("bob", "a")]
    assert readers(bob, [], a=document(allow())) == ("user/bob",)
    assert readers(bob, [], a=document(allow(), deny(ARNS[0]))) == ()
    assert readers(bob, [deny(Principal="*")], a=document(allow())) == ()
    assert readers(bob, [deny(Principal={"AWS": ROOT})], a=document(allow())) == ()
    assert readers(bob, [deny(Principal={"AWS": OTHER})], a=document(allow())) == ("user/bob",)
    assert readers([user("bob", "a", boundary="b")], [], a=document(allow()), b=document(allow(), deny())) == ()
    assert readers(bob, [deny(NotPrincipal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/eve"})], a=document(allow())) == ()


def test_a_boundary_limits_and_gives_nothing() -> None:
    everything, nothing = document(allow()), document({**allow(), "Action": "s3:*"})
    assert readers([user("bob", boundary="b")], [], b=everything) == ()
    assert readers([user("bob", "a", boundary="b")], [], a=everything, b=nothing) == ()
    assert readers([user("bob", "a", boundary="b")], [], a=everything, b=everything) == ("user/bob",)
    bob, robot = user("bob", boundary="b"), role("robot", boundary="b")
    named = [allow(Principal={"AWS": [bob.arn, robot.arn]})]
    assert readers([bob, robot], named, b=nothing) == ("user/bob",), "a role is limited, a user is not"


def test_the_policy_of_a_secret_names_who_may() -> None:
    bob, robot = user("bob"), role("robot")
    assert readers([bob, robot], [allow(Principal={"AWS": robot.arn})]) == ("role/robot",)
    assert readers([bob, robot], [allow(Principal={"AWS": robot.unique_id})]) == ("role/robot",)
    assert readers([bob], [allow(Principal={"AWS": [ROOT, ACCOUNT]})]) == (), "their own policies decide"
    assert readers([bob], [allow(Principal={"AWS": "AROAGONE"})]) == (), "nobody gets that id again"
    found = readers([bob], [
        allow(Principal={
            "AWS": [OTHER, f"arn:aws:iam::{OTHER}:role/x", f"arn:aws:sts::{ACCOUNT}:assumed-role/robot/night"],
            "Service": "lambda.amazonaws.com", "Federated": "cognito-identity.amazonaws.com",
        })
    ])  # fmt: skip
    assert found == (
        f"account/{OTHER}", f"arn:aws:iam::{OTHER}:role/x", f"arn:aws:sts::{ACCOUNT}:assumed-role/robot/night",
        "federated/cognito-identity.amazonaws.com", "service/lambda.amazonaws.com",
    )  # fmt: skip
    assert readers([bob], [allow(Principal={"AWS": f"arn:aws:iam::{OTHER}:root"})]) == (f"account/{OTHER}",)


def test_everybody_is_a_star_and_a_deny_takes_it_away() -> None:
    bob = user("bob")
    for principal in ("*", {"AWS": "*"}):
        assert readers([bob], [allow(Principal=principal)]) == ("*",)
        limited = [allow(Principal=principal, Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})]
        assert readers([bob], limited) == ("* (conditional)",)
        assert readers([bob], [allow(Principal=principal), deny(Principal="*")]) == ()
    assert readers([bob], [allow(NotPrincipal={"AWS": bob.arn})]) == ("* (conditional)",)
    service = allow(Principal={"Service": "lambda.amazonaws.com"})
    assert readers([], [service, deny(Principal={"AWS": "*"})]) == ("service/lambda.amazonaws.com",)
    assert readers([], [service, deny(Principal="*")]) == ()
    account = allow(Principal={"AWS": f"arn:aws:iam::{OTHER}:role/x"})
    assert readers([], [account, deny(Principal={"AWS": OTHER})]) == ()
    assert readers([], [account, deny(NotPrincipal={"AWS": f"arn:aws:iam::{OTHER}:role/x"})]) != ()


def test_a_session_that_is_denied_is_not_all_of_its_role() -> None:
    robot = role("robot", "a")
    session = deny(Principal={"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/robot/night"})
    assert readers([robot], [session], a=document(allow())) == ("role/robot (conditional)",)


@pytest.mark.parametrize("name", ["a|b", "=cmd()", "bob (conditional)", "ü"])
def test_names_are_kept_as_they_are(name: str) -> None:
    assert readers([user(name, "a")], [], a=document(allow())) == (f"user/{name}",)


def test_what_concerns_a_resource_is_all_that_it_costs() -> None:
    """Two thousand roles that each read their own secret: none of the others is looked at."""
    roles = [role(f"r{n}", f"p{n}") for n in range(2_000)]
    documents = {f"p{n}": document(allow(f"{SECRETS}app-{n:05}-??????")) for n in range(2_000)}
    found = Readers(ACTION, ACCOUNT, roles, documents)
    looked: list[str] = []
    for entry in found._entries:
        object.__setattr__(entry, "statement", _Noting(entry.statement, looked))
    assert found.of(f"{SECRETS}app-00042-AbCdEf") == ("role/r42",)
    assert len(looked) == 1
    assert found.of(f"{SECRETS}app-00042-AbCdEf") is found.of(f"{SECRETS}app-00042-AbCdEf")
    assert len(looked) == 3
    documents = {f"p{n}": document(allow(f"arn:aws:secretsmanager:*:*:secret:app-{n:05}/*")) for n in range(2_000)}
    wide = Readers(ACTION, ACCOUNT, roles, documents)
    assert len(wide._by_identities(f"{SECRETS}app-00042/db-AbCdEf")[0]) == 1
    assert max(len(numbers) for numbers in wide._by_name.values()) == 1 and not wide._by_prefix


def test_a_name_with_colons_is_found_all_the_same() -> None:
    """AWS has no such names; the index leaves nothing out that is."""
    odd = Readers(ACTION, ACCOUNT, [role("a", "p")], {"p": document(allow("arn:aws:secretsmanager:*:secret:c"))})
    assert odd.of("arn:aws:secretsmanager:eu:1:secret:c") == odd.of("arn:aws:secretsmanager:eu:1:a:b:secret:c")
    assert odd.of("arn:aws:secretsmanager:eu:1:secret:c") == ("role/a",)
    odd = Readers(ACTION, ACCOUNT, [role("a", "p")], {"p": document(allow("arn:aws:secretsmanager:*:1:secret:c"))})
    assert odd.of("arn:aws:secretsmanager:eu:x:1:secret:c") == ("role/a",)


class _Noting:
    def __init__(self, statement: Any, looked: list[str]) -> None:
        self._statement, self._looked, self.allows = statement, looked, statement.allows

    def reach(self, arn: str) -> Any:
        self._looked.append(arn)
        return self._statement.reach(arn)
