"""The scanners: one file for each tool that is run, ending in one typed constant."""

from __future__ import annotations

from tasks.core.ports import BuiltIn, PlatformTool, Scanner
from tasks.scanners.bandit import BANDIT
from tasks.scanners.brakeman import BRAKEMAN
from tasks.scanners.cfn_lint import CFN_LINT
from tasks.scanners.checkov import CHECKOV
from tasks.scanners.dependency_check import DEPENDENCY_CHECK
from tasks.scanners.gitleaks import GITLEAKS
from tasks.scanners.gosec import GOSEC
from tasks.scanners.grype import GRYPE
from tasks.scanners.hadolint import HADOLINT
from tasks.scanners.inventory import INVENTORY
from tasks.scanners.kingfisher import KINGFISHER
from tasks.scanners.osv_scanner import OSV_SCANNER
from tasks.scanners.posture import POSTURE
from tasks.scanners.semgrep import SEMGREP
from tasks.scanners.syft import SYFT
from tasks.scanners.trivy import TRIVY
from tasks.scanners.zizmor import ZIZMOR

#: Every scanner, in the order in which a repository is scanned: first those with a lock, then our own, then those of
#: the platform.
SCANNERS: tuple[Scanner, ...] = (
    KINGFISHER,
    BANDIT,
    SEMGREP,
    CHECKOV,
    ZIZMOR,
    HADOLINT,
    CFN_LINT,
    POSTURE,
    INVENTORY,
    GITLEAKS,
    TRIVY,
    OSV_SCANNER,
    GRYPE,
    SYFT,
    GOSEC,
    BRAKEMAN,
    DEPENDENCY_CHECK,
)
#: Those with a lock: installed by us.
LOCKED: tuple[Scanner, ...] = tuple(s for s in SCANNERS if not isinstance(s, PlatformTool | BuiltIn))
#: Those that every run expects something of: with a lock, or a part of this project.
EXPECTED: tuple[Scanner, ...] = tuple(s for s in SCANNERS if not isinstance(s, PlatformTool))
