"""The scanners: one file for each tool that is run, ending in one typed constant."""

from __future__ import annotations

from tasks.core.ports import Scanner
from tasks.scanners.bandit import BANDIT
from tasks.scanners.cfn_lint import CFN_LINT
from tasks.scanners.checkov import CHECKOV
from tasks.scanners.hadolint import HADOLINT
from tasks.scanners.kingfisher import KINGFISHER
from tasks.scanners.semgrep import SEMGREP
from tasks.scanners.zizmor import ZIZMOR

#: Every scanner, in the order in which a repository is scanned.
SCANNERS: tuple[Scanner, ...] = (KINGFISHER, BANDIT, SEMGREP, CHECKOV, ZIZMOR, HADOLINT, CFN_LINT)
