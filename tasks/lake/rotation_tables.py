"""The tables of secrets: what there is, managed or not, and each step of each rotation. Never a value."""

from __future__ import annotations

from tasks.lake.columns import Table, columns

#: What an inventory tells of a secret; a rotation leaves it as it is.
INVENTORY_COLUMNS = (
    "kind", "store", "created_at", "rotated_at", "rotation_is_told", "last_used_at", "use_is_told", "expires_at",
    "owner", "rotated_by", "readers", "is_active", "orphan",
)  # fmt: skip

ROTATION_TABLES = (
    Table(
        name="secrets",
        description="One secret as the last look found it: a managed one, or one that nobody configured and that an "
        "inventory found in a store. No value, nor anything made of one.",
        mode="merge",
        key=("secret",),
        schema=columns(
            "secret s! its name in the configuration; of what is not managed its place (and, where two stores have "
            "that, its store)",
            "place s! where its value is kept: vault:secret/shop/db, aws-sm:shop/db, aws-iam:user/deploy/AKIA…",
            "target s what accepts it: postgresql, mysql, iam, certificate, program; static_role: its store changes "
            "it itself; null: it is not managed",
            "failure_class s secrets of which none is begun any more in a run once one has failed; null: not managed",
            "identity s public name of the credential in force: a user, the id of a key; null: it could not be read",
            "version s version of the value in force, as its store names it",
            "in_force_since t when that version came into force by the store's clock, UTC; null: it does not tell",
            "rotation_id s the rotation that made it; null: none of ours",
            "slot s the slot of the schedule in which that was",
            "state s what the rotation that is under way has reached; null: none is",
            "due s due, overdue, not_yet, too_young, window_closed, or unknown where it could not be read; null: not "
            "managed",
            "due_at t when it is next to be rotated, or since when it may be, UTC",
            "every_days f how often it is to be rotated; null: it is not managed",
            "grace_s f seconds for which consumers may remember the value before; null: it is not managed",
            "consumers l who is declared to read it",
            "reason_code s why it could not be read, or its rotation not be gone on with",
            "detail s more about it",
            "looked_at t! when a look first found it as it is, UTC (of a store, scopes.evidence_at tells the last one)",
            "present b! whether it is still configured or, of what is not managed, still in its store",
            "is_managed b whether it is configured to be rotated; null: it is, and the row is older than inventories",
            "kind s kv, static_role, certificate, secrets_manager or access_key; null: no inventory has found it",
            "store s the store that holds it: the repo_id of its findings; null: no inventory has found it",
            "created_at t when it was created by the store's clock, UTC; null: the store does not tell",
            "rotated_at t when its value was last changed after that, UTC; null: never, if rotation_is_told",
            "rotation_is_told b whether the store tells when its value was changed; null: no inventory has found it",
            "last_used_at t when its value was last read or used, UTC; null: never, if use_is_told",
            "use_is_told b whether the store tells when it was used; null: no inventory has found it",
            "expires_at t when it ends by itself, UTC; null: it does not, or the store does not tell",
            "owner s who it belongs to, as the store says",
            "rotated_by s what else rotates it: something of the store's own, or another managed secret",
            "readers l who may read its value by policy: policies, roles, users; null: the store does not tell",
            "is_active b whether it is accepted; null: no inventory has found it",
            "orphan s why nothing can use it any more; null: nothing says so",
        ),
    ),
    Table(
        name="rotations",
        description="One step of one rotation of one secret. done_at tells their order. A static role has promoted and "
        "retired alone, which are one moment.",
        mode="merge",
        key=("rotation_id", "state"),
        schema=columns(
            "rotation_id s! the rotation: made of the secret and the slot of its schedule",
            "state s! prepared, applied, verified, promoted, grace, retired; withdrawn, or forwarded to a fresh value",
            "secret s! the secret",
            "place s! where its value is kept",
            "slot s! the slot of its schedule, or what it was rotated for",
            "done_at t! when the step was first known to be done, UTC",
            "identity s! public name of the new credential; empty while it is not issued",
            "replaces s public name of the credential that it replaces",
            "version s version of the value in force, once there is one",
            "until t of grace: when the old credential may be retired, UTC",
            "reason_code s why it stands there, or went back",
            "detail s more about it",
            "run_id s! the run that published the row",
        ),
    ),
    Table(
        name="leaks",
        description="One managed secret whose value a secret finding names, and what was done about it. No value.",
        mode="merge",
        key=("flaw_uid", "secret"),
        schema=columns(
            "flaw_uid s! the value: what all findings of it name alike (findings.flaw_uid)",
            "secret s! the managed secret that holds it, or held it",
            "place s! where that is kept",
            "field s! the field of the stored value that it is, or is a part of",
            "version s the version of the store that holds it; null: it was staged, and in no version",
            "identity s public name of the credential: a user, the id of a key; null: none is known, or no rotation "
            "changes it, so that it is of none",
            "finding_uids l! the findings of it when the state last changed",
            "found_at t! when a run first found that they are the same, UTC",
            "state s! waiting (it is in force, or still accepted until its grace is over), revoked (it is refused: "
            "proved), works (it was replaced and retired, and is accepted all the same), unverified (it was replaced, "
            "and nobody can tell whether it is refused, or whether another secret has it), kept (no rotation "
            "changes it), decided (by decisions none of its findings is open: nothing was done), gone (nobody finds it "
            "any more, and that it is refused was never proved) or unconfigured (its secret is not configured now)",
            "rotation_id s the rotation that replaced it, or does",
            "verified_at t when it was proved that it is refused, UTC",
            "reason_code s why it stands there; null: nothing is wrong",
            "detail s more about it",
            "changed_at t! when the row last changed, UTC",
            "run_id s! the run that published it",
        ),
    ),
)
