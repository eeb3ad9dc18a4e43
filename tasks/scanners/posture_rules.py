"""The rules of posture: what each says, how bad it is by itself, what to do, and where to read more.

The severity is ours: nobody publishes one for such facts. ``high``: anybody who has one account may change what is
shipped; ``medium``: one more thing must go wrong first; ``low``: harm is found or mended later than it could be.
"""

from __future__ import annotations

from tasks.core.types import Rule

_DOCS = "https://docs.github.com/en/"
_PROTECTED = (
    f"{_DOCS}repositories/configuring-branches-and-merges-in-your-repository/managing-protected-branches/"
    "about-protected-branches"
)
_OWASP = "https://cheatsheetseries.owasp.org/cheatsheets/"

RULES: tuple[Rule, ...] = (
    Rule(
        rule_id="security-policy-missing",
        title="No SECURITY.md: nobody is told how to report a vulnerability",
        severity_tool="low",
        remedy="Add SECURITY.md to the root, .github/ or docs/, with an address and how soon you answer. Where the"
        " organisation's .github repository holds one for all, decide this finding with that as its reason: a scan"
        " of one repository does not see another.",
        url=f"{_DOCS}code-security/getting-started/adding-a-security-policy-to-your-repository",
    ),
    Rule(
        rule_id="codeowners-missing",
        title="No CODEOWNERS: nobody is asked to review a change",
        severity_tool="low",
        remedy="Add CODEOWNERS to the root, docs/ or the forge's own folder (.github/, .gitlab/, .gitea/, .forgejo/).",
        url=f"{_DOCS}repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/"
        "about-code-owners",
    ),
    Rule(
        rule_id="threat-model-missing",
        title="No threat model",
        severity_tool="low",
        remedy="Write down what can go wrong and what is done about it, as THREATMODEL.md, docs/threat-model.md or a"
        " model of OWASP Threat Dragon (.json) or Microsoft's tool (.tm7).",
        url=f"{_OWASP}Threat_Modeling_Cheat_Sheet.html",
    ),
    Rule(
        rule_id="threat-model-old",
        title="No threat model was changed for a year",
        severity_tool="low",
        remedy="Go through the threat model with those who build the system, and commit what has changed, or the date"
        " of the review.",
        url=f"{_OWASP}Threat_Modeling_Cheat_Sheet.html",
    ),
    Rule(
        rule_id="lock-file-missing",
        title="A manifest asks for packages and no lock file pins them",
        severity_tool="medium",
        cwe="CWE-1357",
        remedy="Commit the lock file of the package manager, beside the manifest or in a folder above it, and install"
        " by it.",
        url=f"{_OWASP}Software_Supply_Chain_Security_Cheat_Sheet.html",
    ),
    Rule(
        rule_id="action-unpinned",
        title="An action or a reusable workflow is named by a tag or branch, not by a commit",
        severity_tool="medium",
        cwe="CWE-829",
        remedy="Name the whole commit (or the digest of an image), with the version in a comment, and let Dependabot or"
        " Renovate raise it.",
        url=f"{_DOCS}actions/reference/security/secure-use#using-third-party-actions",
    ),
    # settings of the forge (``posture_settings``)
    Rule(
        rule_id="default-branch-unprotected",
        title="The default branch is not protected",
        severity_tool="high",
        remedy="Protect it: a pull request with a review for every change, no force pushes, no deletion.",
        url=_PROTECTED,
    ),
    Rule(
        rule_id="review-not-required",
        title="The default branch takes changes that nobody has reviewed",
        severity_tool="medium",
        remedy="Require at least one approval before a merge.",
        url=_PROTECTED,
    ),
    Rule(
        rule_id="force-push-allowed",
        title="The history of the default branch may be rewritten",
        severity_tool="medium",
        remedy="Forbid force pushes to it.",
        url=_PROTECTED,
    ),
    Rule(
        rule_id="branch-deletion-allowed",
        title="The default branch may be deleted",
        severity_tool="medium",
        remedy="Forbid its deletion.",
        url=_PROTECTED,
    ),
    Rule(
        rule_id="administrators-not-bound",
        title="The protection of the default branch does not hold for administrators",
        severity_tool="medium",
        remedy="Let it hold for them too (`Do not allow bypassing the above settings`).",
        url=_PROTECTED,
    ),
    Rule(
        rule_id="protection-bypassed",
        title="A team, an app or a deploy key may pass by the protection of the default branch",
        severity_tool="medium",
        remedy="Take it off the bypass list of the ruleset; or decide this finding, if its releases need it.",
        url=f"{_DOCS}repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/about-rulesets",
    ),
    Rule(
        rule_id="many-administrators",
        title="More than five accounts administer the repository",
        severity_tool="medium",
        remedy="Take the right from who does not change settings; grant the rest by one small team.",
        url=f"{_DOCS}organizations/managing-user-access-to-your-organizations-repositories/managing-repository-roles/"
        "repository-roles-for-an-organization",
    ),
    Rule(
        rule_id="outside-collaborator",
        title="Somebody from outside of the organisation may write to the repository",
        severity_tool="medium",
        remedy="Let them send pull requests from a fork, or make them members; take the right away when the work ends.",
        url=f"{_DOCS}organizations/managing-user-access-to-your-organizations-repositories/"
        "managing-outside-collaborators",
    ),
    Rule(
        rule_id="two-factor-not-required",
        title="The organisation does not require a second factor",
        severity_tool="high",
        remedy="Require two-factor authentication of all members; tell those who have none a week before.",
        url=f"{_DOCS}organizations/keeping-your-organization-secure/"
        "managing-two-factor-authentication-for-your-organization",
    ),
    Rule(
        rule_id="deploy-key-writes",
        title="A deploy key may write to the repository",
        severity_tool="medium",
        remedy="Replace it by a key that only reads, or by an app with the one right that it needs.",
        url=f"{_DOCS}authentication/connecting-to-github-with-ssh/managing-deploy-keys",
    ),
)
BY_ID = {r.rule_id: r for r in RULES}
