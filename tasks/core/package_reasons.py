"""Reasons of packages and versions, a part of the closed list of ``tasks.core.reasons``: code, meaning, remedy."""

from __future__ import annotations

PACKAGE_REASONS = (
    (
        "manifest_unsupported",
        "Something in the manifest is written in a way, or in a version of its format, that the inventory does "
        "not read; the rest of it was read.",
        "Commit a lock file beside it, or import an SBOM of what is built (`nightwarden assess --sbom`).",
    ),
    (
        "version_unresolved",
        "A version hangs on something that no file in reach says (a property, a parent, a variable, a commit), "
        "so the package was matched with no advisory.",
        "Commit a lock file, write the version out, or import an SBOM of what is built.",
    ),
    (
        "version_unpinned",
        "The manifest names packages without an exact version, and no lock file of its folder or one above has "
        "them: what is installed is not known, so it was matched with no advisory.",
        "Commit a lock file or pin the version; accept the gap by a decision where the version must float.",
    ),
    (
        "version_unjudged",
        "The version of a package that has advisories follows no grammar of its ecosystem, so it cannot be "
        "compared with theirs; what was known of it before stays.",
        "Pin a released version, or decide about what is open.",
    ),
    (
        "advisory_unjudged",
        "An advisory about a package that is used here bounds its versions by what follows no grammar of the "
        "ecosystem: that interval was not judged.",
        "Read the advisory; report its bound to the data base that publishes it.",
    ),
    (
        "sbom_withdrawn",
        "An SBOM made elsewhere was taken back (`nightwarden assess --withdraw`): its packages are no part of the "
        "inventory any more and its findings are archived.",
        "Nothing. `nightwarden assess --sbom` takes it in again.",
    ),
    (
        "no_advisories",
        "No advisories of this ecosystem are fetched, so its packages were matched with nothing.",
        "Add it to `advisories.ecosystems` if the export has it; else a scanner of images or of that ecosystem "
        "must look (trivy, grype).",
    ),
)
