"""Readers of report files that other tools made. Importers do not import each other."""

from __future__ import annotations

from tasks.core.ports import Importer
from tasks.importers.sarif import SARIF

IMPORTERS: tuple[Importer, ...] = (SARIF,)
