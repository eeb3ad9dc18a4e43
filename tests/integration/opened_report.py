"""A report that is open in a browser, and what its list of findings shows."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.patrol.reporting import Facts
from tests.integration import chromium


class Opened:
    """A browser, and the folder of reports of one organisation."""

    def __init__(self, page: chromium.Page, folder: Path, known: Facts) -> None:
        self.page, self.folder, self.known = page, folder, known
        self.index = folder / "index.html"

    def shown(self) -> list[list[str]]:
        """The rows of the list of findings that are in the document."""
        code = (
            "[...document.querySelectorAll('#finding-grid tr[data-at]')].map(r => [...r.cells].map(c => c.innerText))"
        )
        return list(self.page.js(code))

    def result(self) -> tuple[int, int]:
        """How many findings pass the filter, of how many."""
        numbers = re.match(r"([\d,]+) of ([\d,]+)", self.page.text("#result"))
        assert numbers is not None
        return int(numbers[1].replace(",", "")), int(numbers[2].replace(",", ""))
