"""The closed list of reason codes: why something was not looked at, and what to do about it.

``nightwarden explain CODE`` prints an entry; every ``reason_code`` and ``reason`` of the lake is one of these. A new
code is added here or, of feeds, packages and upgrades, in the files beside, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.feed_reasons import FEED_REASONS
from tasks.core.package_reasons import PACKAGE_REASONS
from tasks.core.rotation_reasons import ROTATION_REASONS
from tasks.core.upgrade_reasons import REGISTRY_REASONS, STEP_REASONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One code with its meaning and the remedy an operator can apply."""

    code: str
    meaning: str
    remedy: str


_OTHERS = (*PACKAGE_REASONS, *FEED_REASONS, *STEP_REASONS, *REGISTRY_REASONS, *ROTATION_REASONS)
_ALL = (
    # repositories
    Reason(
        code="empty_repository",
        meaning="The repository has neither a head nor a tag, so there is nothing to read.",
        remedy="Nothing, if it is new; else remove it from the source.",
    ),
    Reason(
        code="no_default_branch",
        meaning="HEAD of the repository names a branch that does not exist, so no tree could be chosen.",
        remedy="Set HEAD on the remote (`git symbolic-ref HEAD refs/heads/<branch>`); push a branch if there is none.",
    ),
    Reason(
        code="incomplete",
        meaning="Objects that the heads or tags reach are missing in the repository, so it cannot be mirrored whole.",
        remedy="Run `git fsck --connectivity-only` on the remote and restore the objects, or push a full copy.",
    ),
    Reason(
        code="corrupt",
        meaning="git could not read the repository: an object or a ref is damaged.",
        remedy="Run `git fsck --full` on the remote and repair it; our own mirror is rebuilt by itself.",
    ),
    Reason(
        code="too_deep",
        meaning="Folders of the repository nest deeper than git reads (2,048 levels since git 2.43).",
        remedy="Look at the commit that added them: no checkout could hold such a path, so it is made on purpose.",
    ),
    Reason(
        code="fetch",
        meaning="The refs of the repository could not be read or fetched and there is no earlier mirror.",
        remedy="Check the address, the network and the rights of the account that runs the patrol.",
    ),
    Reason(
        code="fetch_stale",
        meaning="The fetch failed; the mirror is older than the remote. Nothing was judged and nothing closed.",
        remedy="Check the address, the network and the rights; the next run tries again.",
    ),
    Reason(
        code="fetch_timeout",
        meaning="The fetch did not end within its time limit.",
        remedy="Raise `fetch_timeout_s`, or look at the remote's speed.",
    ),
    Reason(
        code="linked_worktree",
        meaning="A `.git` file points to a git directory elsewhere; such pointers are never followed.",
        remedy="Add the main repository to the source; a work tree's commits are scanned there.",
    ),
    Reason(
        code="linked_folder",
        meaning="A symbolic link, never followed, leads out of the source to a repository or a folder that holds some.",
        remedy="Name the real folder as a source of its own (`sources` or one more `--repos`), or remove the link.",
    ),
    Reason(
        code="gap_gone",
        meaning="A link, `.git` file or source that was a gap is gone or can be read now; it was never read itself.",
        remedy="Nothing; it is not expected again.",
    ),
    Reason(
        code="source_unread",
        meaning="A configured source could not be read or holds no repository; what it should hold is not known.",
        remedy="Check the folder, manifest or address and the rights of the account, or remove the source.",
    ),
    Reason(
        code="forge_unreachable",
        meaning="A forge could not be asked for its repositories: no connection, errors of its own, or an address that "
        "is no API. Which repositories it has is not known; those of the last run stay expected.",
        remedy="Check the address, `ca_file`, the network and the proxy; the detail says what was seen.",
    ),
    Reason(
        code="forge_denied",
        meaning="A forge refused the token or app, or does not know the account under that name. Nothing was listed; "
        "the repositories of the last run stay expected.",
        remedy="Renew the credential or give it the permission that the detail names; check the account's name.",
    ),
    Reason(
        code="forge_limited",
        meaning="A forge limits requests, for longer than the run may wait. Nothing was listed; the repositories of "
        "the last run stay expected.",
        remedy="Run again after the time that the detail says, or give a credential with a higher limit.",
    ),
    Reason(
        code="not_found",
        meaning="The last run knew this repository; discovery no longer finds it. Its findings stay open.",
        remedy="Restore it or the right to see it. If it is gone on purpose, name it in `filters.exclude` and take it "
        "out of `expected`: only GitHub tells what is gone from what the credential does not see.",
    ),
    Reason(
        code="gone_unconfirmed",
        meaning="The forge lists as many repositories as it says there are, for the first time without this one. Its "
        "findings stay open; if the next run is told the same, it is `repository_gone`.",
        remedy="Nothing, if it was deleted on purpose; else restore it before the next run.",
    ),
    Reason(
        code="source_removed",
        meaning="The source of this repository is configured no more, and no other source holds it. It was not looked "
        "at; its findings stay open.",
        remedy="Name a source that holds it. If it is to be patrolled no more: keep a source of the old name whose "
        "`manifest` is a .txt file of one comment, with `filters: {exclude: ['*']}`; then it is `filtered`.",
    ),
    Reason(
        code="repository_gone",
        meaning="GitHub lists as many repositories as it says there are, two runs in a row, and this one is not among "
        "them: it was deleted or moved away. Its findings are fixed and it is not expected again.",
        remedy="Nothing, if it was deleted on purpose.",
    ),
    Reason(
        code="another_repository",
        meaning="The forge gives the number of this repository to one with another name and address, whose branches "
        "and tags hold no commit that was read of this one: the forge may have been set up anew. Neither was looked "
        "at, and the findings stay open.",
        remedy="If it was renamed and its history rewritten, or the old one is of no use any more: run once with "
        "`--force`, then what its number names now is read in its place. Else give the new forge a lake of its own.",
    ),
    Reason(
        code="filtered",
        meaning="The filters of its source leave this repository out; `scans.detail` says which. It was not looked at.",
        remedy="Change `filters` of the source if it should be patrolled.",
    ),
    Reason(
        code="forge_hidden",
        meaning="The forge says that the account has more repositories than the credential sees, or that it cannot see "
        "private ones. They are not known; `scans.detail` says how this is known.",
        remedy="Give the token, or the app's installation, access to all repositories of the account.",
    ),
    Reason(
        code="forge_difference",
        meaning="The forge lists more repositories than it says there are, or does not say how many and the app sees a "
        "selection only: nobody can tell whether all were seen. Or two sources list different repositories with the "
        "same number: the second is not read.",
        remedy="Run again; if it stays, compare the forge's own page of the account with `discoveries`. Two forges "
        "need addresses that differ in host, port or path.",
    ),
    Reason(
        code="forge_disabled",
        meaning="The forge lists the repository and refuses git: it, or its code, is switched off there.",
        remedy="Nothing, if that is meant; else ask the forge's administrators.",
    ),
    Reason(
        code="not_listed",
        meaning="The manifest names this repository and the forge does not list it.",
        remedy="Give the credential access to it, or take it out of the manifest.",
    ),
    Reason(
        code="manifest_entry",
        meaning="The manifest, or an entry of it, cannot be used; `scans.detail` says why. What it means is not known.",
        remedy="Correct the file, at the line that the name of this row or the detail gives.",
    ),
    Reason(
        code="ref_unwatched",
        meaning="The ref was looked at once; it is not the default branch and the source's `refs` do not ask for it. "
        "It was not looked at, and its findings count no more where findings are counted over refs.",
        remedy="Nothing, or add a pattern to `refs` of the source. A ref that is deleted is `ref_gone`.",
    ),
    Reason(
        code="older_commit",
        meaning="The ref names an ancestor of the commit that was looked at before: a copy of the repository that is "
        "behind, or a push that took commits back. The scan is recorded; the findings stay as they are.",
        remedy="Nothing. If the next run finds the ref at the same commit, that is what counts.",
    ),
    Reason(
        code="ref_gone",
        meaning="The branch this scope read is gone; its findings are fixed and it is not expected again.",
        remedy="Nothing, if it was deleted on purpose.",
    ),
    Reason(
        code="protocol",
        meaning="The address uses a transport that is not allowed (allowed: file, https, http).",
        remedy="Use an allowed transport; `ext::` and the like run commands and stay forbidden.",
    ),
    Reason(
        code="disk_full",
        meaning="So little of a disk was free (`disk_reserve_gb`) that it was not begun, or was ended; others went on.",
        remedy="Free space below `home` and the lake, or lower `disk_reserve_gb`; the next run tries again.",
    ),
    # tools
    Reason(
        code="tool_missing",
        meaning="The tool is not installed, or could not be made ready; `scans.detail` says which.",
        remedy="Run `nightwarden tools install`, or name the platform's own binary in the configuration.",
    ),
    Reason(
        code="database_missing",
        meaning="The tool needs a vulnerability data base, and there is none below the tools' home.",
        remedy="Run `nightwarden tools update` where the network can be reached; scans never fetch it.",
    ),
    Reason(
        code="database_old",
        meaning="The tool's vulnerability data base is older than `database_max_age_days`: what is newer is not found.",
        remedy="Run `nightwarden tools update`, best every night before the patrol.",
    ),
    Reason(
        code="switched_off",
        meaning="The tool is switched off for this repository or run.",
        remedy="Remove the exception from the configuration, or leave out `--tool`.",
    ),
    Reason(
        code="control",
        meaning="The tool did not find the flaw planted in its own control checkout, so its silence proves nothing.",
        remedy="Run `nightwarden doctor`; reinstall the tool with `nightwarden tools install --force`.",
    ),
    Reason(
        code="tool_error",
        meaning="The tool ended with an error of its own.",
        remedy="Read `scans.detail`; run the tool alone on the commit; report it to the tool's makers.",
    ),
    Reason(
        code="signal",
        meaning="The tool was ended by a signal (a crash, or the kernel).",
        remedy="Look for a crash in the tool or for lack of memory on the machine; it is tried again.",
    ),
    Reason(
        code="timeout",
        meaning="The tool did not end within its time limit; it and its children were killed.",
        remedy="Raise `timeout_s` of the tool, or exclude what makes it slow.",
    ),
    Reason(
        code="memory",
        meaning="The tool went over its memory limit and was killed.",
        remedy="Raise `memory_mb` of the tool, or give the worker more memory.",
    ),
    Reason(
        code="output_limit",
        meaning="The tool wrote more than the limit and was killed.",
        remedy="Raise the limit if the output is genuine; endless output is a fault of the tool or of its input.",
    ),
    Reason(
        code="report_invalid",
        meaning="The report is not the format the adapter knows: cut off, malformed or of a new version.",
        remedy="Compare the tool's version with the adapter's; a half-written report means the tool died.",
    ),
    Reason(
        code="report_empty",
        meaning="The tool wrote no report, which it always does when it works.",
        remedy="Read `scans.detail`; check the tool's installation with `nightwarden doctor`.",
    ),
    Reason(
        code="nothing_scanned",
        meaning="The tool says it read fewer files than it was given and does not say which.",
        remedy="Run the tool alone on the commit; report it with the tool's version.",
    ),
    Reason(
        code="cancelled",
        meaning="The run was cancelled before this scan ended.",
        remedy="Run again; finished scans are kept.",
    ),
    Reason(
        code="sandbox",
        meaning="The sandbox could not be set up, so the tool was not started.",
        remedy="Install bubblewrap, or allow user name spaces; `nightwarden doctor` says what is missing.",
    ),
    Reason(
        code="internal",
        meaning="Nightwarden itself failed on this scan; the others went on.",
        remedy="Report it with the detail; it is tried again.",
    ),
    # imported reports
    Reason(
        code="record_invalid",
        meaning="A record of an imported report has another form than the format says, so it was not read.",
        remedy="Look at the record that the path names; report it to the makers of the tool that wrote it.",
    ),
    Reason(
        code="report_incomplete",
        meaning="An imported report is cut off, refers to other files, or says itself that the tool did not finish "
        "or, where there is a path, had trouble there: there may be more findings. None of that place is closed by it.",
        remedy="Make the report anew and import it again; `scan_gaps.detail` says what is missing.",
    ),
    # paths
    Reason(
        code="partly_parsed",
        meaning="The tool understood only a part of the file; what it found there is kept, nothing in the file closes.",
        remedy="Look whether the file is valid in the version of its language; if it is, update the tool.",
    ),
    Reason(
        code="rule_broken",
        meaning="Rules of a pack do not run: a file is no YAML, an id is missing or used twice, one does not compile "
        "or goes by the topmost folder, or the pack holds none. Their findings stay open. Of a path or a scan: no rule "
        "that runs reads the file.",
        remedy="Correct what the detail names (`nightwarden tools packs` lists all of it); the others run meanwhile.",
    ),
    Reason(
        code="no_rules",
        meaning="No rule of any pack runs, so the tool was not started: its silence would mean nothing.",
        remedy="Name a pack in `packs`, mend those there are (`nightwarden tools packs`), or set "
        "`own_pack: true`; to do without semgrep set `enabled: false` below `tools.semgrep`.",
    ),
    Reason(
        code="pack_stale",
        meaning="A rule pack could not be read or fetched; the last good copy of it is in force.",
        remedy="Check the folder, or the address and the commit, of the pack in the configuration.",
    ),
    Reason(
        code="pack_missing",
        meaning="A rule pack could not be read or fetched and there is no earlier copy, so none of its rules ran.",
        remedy="Check the folder, or the address and the commit, of the pack in the configuration.",
    ),
    Reason(
        code="decisions_unread",
        meaning="The file of decisions could not be read, or nobody can say who approved it. The last decisions that "
        "the lake knows stay in force.",
        remedy="Run `nightwarden decide check`, mend the file, commit it.",
    ),
    Reason(
        code="awaiting_upgrade",
        meaning="The files are unchanged, but tool or rules are newer than the last look; the nightly budget for that "
        "is used up, so the last look stands, and the next nights take the oldest first.",
        remedy="Wait, or raise `upgrade_minutes` in the configuration; `--force` looks at once.",
    ),
    Reason(
        code="settings_unread",
        meaning="The forge did not tell some of a repository's settings; what was found of them before stays open.",
        remedy="Give the credential the permission that the detail names, or accept the gap by a decision.",
    ),
    Reason(
        code="settings_off",
        meaning="Settings of the forge were asked for once and are not any more; what was found then stays open.",
        remedy="Set `posture: true` for the source (and a credential), or decide about what is open.",
    ),
    Reason(
        code="date_unknown",
        meaning="When the file was last changed cannot be told: git failed at it, or the commit's date is to come.",
        remedy="Look at the dates of the newest commits of the file; one with a wrong clock is mended by a new commit.",
    ),
    Reason(
        code="unparsable",
        meaning="The tool could not parse this file, so nothing in it was judged.",
        remedy="Correct the file, or accept the gap.",
    ),
    Reason(
        code="ignored_inline",
        meaning="A comment in the file, or in one that uses it, tells the tool to pass over findings, and the tool has "
        "no switch against that: what is hidden is not known, nothing in the file closes.",
        remedy="Remove the comment; what it hides is then a finding that can be decided about.",
    ),
    Reason(
        code="unreadable_by_tool",
        meaning="The tool was given this file and reported neither a result nor an error for it.",
        remedy="Run the tool alone on the file; report it with the tool's version.",
    ),
    Reason(
        code="crashes_tool",
        meaning="The tool crashes or hangs on this file; the others were scanned without it.",
        remedy="Report the file to the tool's makers; raise the time limit if it is only slow.",
    ),
    Reason(
        code="too_large",
        meaning="The file is larger than the limit for one file and was not written for the tool.",
        remedy="Raise `max_file_mb`, or accept the gap.",
    ),
    Reason(
        code="too_many_files",
        meaning="The tree has more files for this tool than the limit; this one was not written.",
        remedy="Raise `max_files`.",
    ),
    Reason(
        code="too_many_places",
        meaning="The history names more places than can be listed, so each secret is shown at one of them.",
        remedy="Look at the commit that added so many paths, or raise `fetch_timeout_s` if the history is only long.",
    ),
    Reason(
        code="total_size",
        meaning="The checkout reached its size limit before this file.",
        remedy="Raise `max_total_mb`.",
    ),
    Reason(
        code="symlink",
        meaning="A symbolic link: never followed or written. A target in the tree is scanned under its own name.",
        remedy="Nothing, if the target lies in the tree.",
    ),
    Reason(
        code="submodule",
        meaning="A submodule: its content belongs to another repository.",
        remedy="Add that repository to the source.",
    ),
    Reason(
        code="unsafe_path",
        meaning="The tree names a path that would escape the checkout or enter `.git`; it was not written.",
        remedy="Look at the commit that added it: such a name is made on purpose.",
    ),
    Reason(
        code="object_missing",
        meaning="The blob of this path is missing in the mirror.",
        remedy="Repair the remote; `git fsck --connectivity-only` names what is missing.",
    ),
    # advisories, packages, upgrades, registries, rotations
    *(Reason(code=code, meaning=meaning, remedy=remedy) for code, meaning, remedy in _OTHERS),
)

REASONS: dict[str, Reason] = {r.code: r for r in _ALL}

#: What each outcome means, for `nightwarden explain` and the column description.
OUTCOMES: dict[str, str] = {
    "ok": "The tool read everything it was given and its control checkout proved it can see.",
    "unchanged": "The same scan name was completed before: nothing that can change its result has changed.",
    "nothing_to_read": "The tree holds no file this tool reads; findings of earlier commits are fixed.",
    "partial": "The tool ran, some paths were not read; they are rows of scan_gaps and close no finding.",
    "failed": "The scan could not be done; reason_code says why. Nothing is closed.",
    "timeout": "The tool did not end in time. Nothing is closed.",
    "stale": "The repository could not be fetched; what is known is older than the remote. Nothing is closed.",
    "missing": "The last run knew it and discovery no longer finds it. Nothing is closed.",
    "skipped": "Switched off on purpose.",
}

#: Outcomes that are gaps: what the run must name.
GAP_OUTCOMES = frozenset({"partial", "failed", "timeout", "stale", "missing"})
#: Outcomes that complete a scan name.
COMPLETE_OUTCOMES = frozenset({"ok", "partial"})
