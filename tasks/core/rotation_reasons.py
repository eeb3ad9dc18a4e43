"""Reasons of rotations, a part of the closed list of ``tasks.core.reasons``: code, meaning, remedy."""

from __future__ import annotations

#: Why a step of a rotation could not be done, or was not begun.
ROTATION_REASONS = (
    (
        "backend_unreachable",
        "The store of the secret did not answer, or not in time. Whether it did what it was asked is found out next.",
        "Check its address and the network; the next run goes on where this one stopped.",
    ),
    (
        "backend_sealed",
        "The store is sealed or not initialised: it answers nothing.",
        "Unseal it; the next run goes on.",
    ),
    (
        "backend_denied",
        "The store refuses our credentials, or their policy does not allow the step.",
        "Compare the policy with what `nightwarden rotate policy vault` (or `aws`) prints, for an inventory with "
        "`--inventory`.",
    ),
    (
        "backend_limited",
        "The store asks us to ask less often.",
        "Nothing: the next run goes on. Lower `concurrency`, or raise the quota, if it stays.",
    ),
    (
        "backend_error",
        "The store answered with an error of its own, or with what nobody can read.",
        "Look at its log; the detail says what it answered.",
    ),
    (
        "secret_missing",
        "The store has no such secret, or no version of it in force.",
        "Compare mount, path and case; write a first value if there was none.",
    ),
    (
        "secret_shape",
        "The stored value has not the fields that its target needs, or is no object of text fields.",
        "Store the fields that the detail names, or configure `fields`.",
    ),
    (
        "rotation_conflict",
        "Somebody changed the value in force while a rotation was under way. Nothing was touched since.",
        "Look at who changed it. `nightwarden rotate resume --withdraw NAME` takes the rotation back and keeps theirs.",
    ),
    (
        "rotation_promoted",
        "The new value is in force, so the rotation can only be finished, not taken back.",
        "Let it finish; rotate once more if the value is not wanted.",
    ),
    (
        "target_unreachable",
        "What accepts the credential did not answer, or not in time.",
        "Check it and the network; the next run goes on where this one stopped.",
    ),
    (
        "target_denied",
        "What accepts the credential refuses the account that we administer it with.",
        "Give the account the rights that the documentation of the target names.",
    ),
    (
        "target_missing",
        "The user or account of the credential is not there.",
        "Create it as the documentation of the target says, or take the secret out of the configuration.",
    ),
    (
        "target_error",
        "What accepts the credential answered with an error of its own.",
        "Look at its log; the detail says what it answered.",
    ),
    (
        "value_rejected",
        "The new credential does not work where it should: it was applied and is refused, or may not do what it must. "
        "It was taken back before anybody read it.",
        "Look at the target's rules for values and rights, and at the configured check.",
    ),
    (
        "value_not_issued",
        "A credential that nobody refers to stands where the new one would be made, and it is in use.",
        "Find out whose it is, and delete it or store it.",
    ),
    (
        "old_in_use",
        "The grace is over and the old credential is still being used, so it was not retired.",
        "Restart the consumers that hold it; `nightwarden rotate list` names the configured ones.",
    ),
    (
        "rotation_elsewhere",
        "Something else rotates this secret: a schedule of its store, or another program that has staged a value.",
        "Decide who rotates it, and switch the other rotation off.",
    ),
    (
        "rotation_busy",
        "Another runner is at this secret.",
        "Wait: the other runner finishes the rotation.",
    ),
    (
        "class_stopped",
        "Another secret of its class failed before it in this run, so its rotation was not begun.",
        "Mend the other one; the next run begins this one.",
    ),
    (
        "approval_missing",
        "It is of a kind that is rotated only once somebody has approved it in git, and nobody has as it is configured "
        "now. What was begun is finished all the same, unless it was begun for another configuration than the one now.",
        "`nightwarden rotate approve NAME` writes the entry; commit it, and let somebody else sign or review it.",
    ),
    (
        "approval_unread",
        "It is of a kind that is rotated only once somebody has approved it in git, and that could not be read: the "
        "file of decisions, its repository, or the forge. Nothing is taken as approved.",
        "`nightwarden decide check` says what is wrong with it; mend that, then run again.",
    ),
    (
        "credentials_unreadable",
        "What we sign in to the store with, or administer the target with, is not there or could not be read.",
        "`nightwarden config check --resolve` says which references can be read, and why not.",
    ),
    (
        "rotation_unnoted",
        "A step was done and could not be written down in our home, so no further one was done.",
        "Make room on the disk, or correct who owns the folder; the next run goes on and notes it.",
    ),
    (
        "rotation_unmade",
        "The secret could not be made ready to be rotated from its configuration.",
        "The detail says why; correct it, or what it refers to.",
    ),
    (
        "leak_unrotated",
        "A leaked value stands in a managed secret, and its rotation could not be begun or not be finished.",
        "The detail says why: mend that, or approve it, then `nightwarden rotate run --leaks`; or change it by hand.",
    ),
    (
        "leak_kept",
        "A leaked value stands in a managed secret where no rotation changes it.",
        "Change it by hand where it is issued, and store the new one; decide about the finding if it is no secret.",
    ),
    (
        "leak_works",
        "A leaked value was replaced and its credential retired, and what accepts it accepts it all the same.",
        "Look at what accepts it: disable the credential there by hand. Every run tries again.",
    ),
    (
        "leak_unverified",
        "A leaked value was replaced, and whether it still works cannot be told: it is not kept any more, what accepts "
        "it refuses the value in force as well, or other secrets, which may hold the same value, were not compared.",
        "Run over all secrets, or try it where it was accepted; decide about the finding if it is refused. "
        "Every run tries again.",
    ),
    (
        "leaks_incomparable",
        "Whether managed secrets have leaked could not be looked for: their values cannot be compared with findings.",
        "The detail says why. Rotate with the HMAC key (`key_file`) that the patrols of the lake have.",
    ),
    (
        "use_not_told",
        "The store does not tell when secrets of this kind were last used: which of them nobody uses is not known.",
        "Nothing, if the store cannot (Vault tells it in its audit log alone): accept the gap by a decision. Else give "
        "the account the right that `nightwarden rotate policy vault --inventory` (or `aws`) names.",
    ),
    (
        "rotation_not_told",
        "The store does not tell of some secrets of this kind when their values were changed: whether they are too old "
        "is not known.",
        "Give the account the right to read their metadata: `nightwarden rotate policy vault --inventory` (or `aws`) "
        "prints it.",
    ),
    (
        "expiry_not_told",
        "The store does not tell of some certificates when they end.",
        "Give the account the right to read them: `nightwarden rotate policy vault --inventory` (or `aws`) prints it.",
    ),
    (
        "account_not_told",
        "More than one account or region of AWS may hold this managed secret; the configuration does not say which. "
        "It was taken for none of them.",
        "Write `account` (in quotes) and `region` below its `aws`, or its ARN as `id`.",
    ),
    (
        "mount_left_out",
        "A part of a store that was looked at once is left out by the configuration now. What was found there stays "
        "open.",
        "Add it to `rotation.inventory.vault.mounts`, or accept the gap and decide about what is open there.",
    ),
    (
        "store_removed",
        "A store of secrets that was looked at once is configured no more. It was not looked at; its findings stay "
        "open.",
        "Name it in `rotation.inventory` again. If it is to be looked at no more, accept the gap, and decide about its "
        "findings.",
    ),
    (
        "rotation_failed",
        "Something went wrong that nobody foresaw; the rotation stays where it is.",
        "Run again. If it stays, report the kind of error that the detail names.",
    ),
    (
        "store_limit",
        "The store holds more of this than is read in one night; the rest is unknown.",
        "Tidy what is over (expired certificates, tokens, entities), or name fewer mounts.",
    ),
    (
        "store_untold",
        "The store, or this version or kind of it, does not tell this, or we do not know how to ask it.",
        "Look at it by hand; the detail says what is meant.",
    ),
    (
        "policy_unreadable",
        "The text of a policy could not be understood, so who may read by it is unknown.",
        "Look at the policy by hand; report its form if the store takes it.",
    ),
)
