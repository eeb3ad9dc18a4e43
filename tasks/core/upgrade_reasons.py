"""Reasons of steps and of registries, a part of the closed list of ``tasks.core.reasons``: code, meaning, remedy."""

from __future__ import annotations

#: Why there is no safe version of a package to go to, or none at all.
STEP_REASONS = (
    (
        "unknown_version",
        "The version in use follows no grammar of its ecosystem, so nobody can say what is above it.",
        "Pin a released version.",
    ),
    (
        "not_published",
        "Nothing is known to be published of the package: no advisory names a version, and no registry that was asked"
        " (if any was) has it.",
        "Name the registry that has it in `registries`; if none has, replace the package.",
    ),
    (
        "nothing_above",
        "The version in use is the newest that is known.",
        "Replace the package, take it out, or decide about the finding until there is a release.",
    ),
    (
        "all_vulnerable",
        "An advisory is about every version above. Where a step is named, it is the one that leaves fewest.",
        "Take the partial step where there is one; else replace the package, or decide about what remains.",
    ),
    (
        "only_prereleases",
        "What is safe above is a pre-release, and none is in use.",
        "Wait for the release, or go to the pre-release on purpose.",
    ),
    (
        "only_withdrawn",
        "What is safe above was withdrawn (yanked, unlisted, retracted) by its authors.",
        "Wait for the next release, or replace the package.",
    ),
)

#: Why the versions of a package are not known, or not as they are today.
REGISTRY_REASONS = (
    (
        "registry_none",
        "There is no registry of this ecosystem that can be asked here.",
        "Nothing is to be done; what its advisories name stands in.",
    ),
    (
        "registry_not_configured",
        "No address of this ecosystem's registry is configured, so none is asked.",
        "Name the registry, or a mirror of it, in `registries.addresses`; what advisories name stands in.",
    ),
    (
        "registry_offline",
        "Nothing may be asked (`registries.offline`), and nothing young enough is kept of the package.",
        "Ask once with the network, then again offline.",
    ),
    (
        "registry_bad_name",
        "The name is none that this registry could have, so it is not asked for it.",
        "Look at the manifest: the name is mistaken, or the package is none of a registry.",
    ),
    (
        "registry_not_found",
        "The registry does not know the package.",
        "It is private, was renamed or removed: name the registry or mirror that has it.",
    ),
    (
        "registry_no_versions",
        "The registry knows the package and lists no version of it.",
        "All of them were removed: replace the package.",
    ),
    (
        "registry_denied",
        "The registry refuses to say (401, 403 and the like).",
        "Name a mirror that answers without a login.",
    ),
    (
        "registry_unreachable",
        "The registry did not answer, broke off, or leads to another host. The last good answer stands.",
        "Check the address, the network, the proxy and `registries.ca_file`.",
    ),
    (
        "registry_invalid",
        "The registry sent what it should not: cut off, of another form, or about another package.",
        "Look at the address: a login page, a proxy or a mirror may stand before it.",
    ),
    (
        "registry_too_large",
        "The answer is longer than is read, or lists too many versions.",
        "Look at the address; what its advisories name stands in.",
    ),
    (
        "registry_disk_full",
        "There is no room for the answer of the registry.",
        "Free some space on the disk of `home`.",
    ),
)
