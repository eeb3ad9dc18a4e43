"""Where real data lies that the tests use when it is there: beside the project, or where the environment says."""

from __future__ import annotations

import os
from pathlib import Path

#: Feeds as they are published: ``osv/<ecosystem>/all.zip``, ``kev/``. What is not there is skipped.
REAL_DATA = Path(os.environ.get("NIGHTWARDEN_DATA") or Path(__file__).parents[2] / "shared" / "data")
#: Reports of many tools with an ``expected.tsv``.
REAL_REPORTS = Path(os.environ.get("NIGHTWARDEN_REPORTS") or REAL_DATA / "reports")
