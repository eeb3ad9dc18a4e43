"""Reasons of feeds of advisories, a part of the closed list of ``tasks.core.reasons``: code, meaning, remedy."""

from __future__ import annotations

#: Days after which the newest record of a feed is told as old (``advisories.max_age_days``, if those are more). EPSS is
#: made anew each day. CISA adds to KEV and SSVC several times a week; KEV's longest pause since 2022 was 18 days. An
#: ecosystem of OSV may be small: 60 days, or ``PACES`` times its own pace, that is the mean time between the last
#: ``PACE_OF`` days on which something was changed in it (fact ``pace_days`` of its content).
STANDS_STILL_DAYS = {"epss": 0, "kev": 30, "ssvc": 30, "osv": 60}
PACES, PACE_OF = 6, 10

FEED_REASONS = (
    (
        "feed_unreachable",
        "A feed of advisories did not answer, or lacks a file; what was fetched before stays in force.",
        "Check the address, the network, the proxy and `ca_file`; the next sync tries again.",
    ),
    (
        "feed_invalid",
        "A feed sent what it should not (cut off, another file, too large); the last good one stays.",
        "Look at the address with curl: a login page, a proxy or a mirror may stand before it.",
    ),
    (
        "feed_backwards",
        "A feed holds older or far fewer advisories than before, as if it lagged; the last good one stays.",
        "Wait for the mirror, or take the feed as it is now: `nightwarden advisories sync --whole`.",
    ),
    (
        "feed_partial",
        "Some records of a feed could not be taken, or its list lacks them and they are there; of each the last good"
        " state stays, all others are new.",
        "`nightwarden advisories status` names them; tell the feed's maintainers if that lasts.",
    ),
    (
        "advisories_old",
        "A feed was found current longer ago than `advisories.max_age_days`, or its newest record is older than that"
        " and than such feeds pause (KEV and SSVC 30 days; an ecosystem 60, or six times its own pace; EPSS none).",
        "Run `nightwarden advisories sync` each night; if it says `unchanged`, look whether the mirror lags.",
    ),
    (
        "advisories_missing",
        "A configured feed was never fetched, so nothing is judged by it.",
        "Run `nightwarden advisories sync`; its output says what is wrong.",
    ),
)
