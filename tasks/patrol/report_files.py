"""Reports as files: one, or a folder with one for all and one for each team. A file is whole or not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.core.whole_files import replacing, workplace
from tasks.patrol.reporting import Facts, report_of
from tasks.report.html import MARK, ReportData, pieces

INDEX = "index.html"
#: Lists the files that we wrote into a folder: only these are ever removed.
_LIST = ".nightwarden-report.json"
_NAME = re.compile(r"team-[a-z0-9-]{0,40}-[0-9a-f]{10}\.html")


def write_file(path: Path, text: Iterable[str]) -> int:
    """Write one file, replacing what is there; returns its bytes. Raises UsageError: it cannot be written."""
    with _told(path), replacing(path) as part:
        return _write(part, text)


def _write(path: Path, text: Iterable[str]) -> int:
    with path.open("w", encoding="utf-8") as f:
        for piece in text:
            f.write(piece)
    return path.stat().st_size


def write_folder(folder: Path, known: Facts, whole: ReportData) -> list[Path]:
    """Write ``whole`` (``index.html``) and a report for each team, which refer to each other; returns the files.

    All are made beside the folder's own before any is put in its place, the index last. A file of a team that is gone
    is removed if we wrote it. Raises UsageError: the folder cannot be written, or holds an index that is not ours.
    """
    files = {team: team_file(team) for team in known.teams}
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / INDEX
        if index.exists() and not _is_ours(index):
            raise UsageError(f"{index} is no report of ours", advice="Give --folder another place, or move it away.")
        before = _listed(folder)
        with workplace(folder, "nightwarden-report") as made:
            for team, name in files.items():
                _write(made / name, pieces(report_of(known, team=team, files=files, home=INDEX)))
            _write(made / INDEX, pieces(_linked(whole, files)))
            # What is listed may be removed by the next call, so the list knows of a file before it is there.
            write_file(folder / _LIST, [json.dumps(sorted({*files.values(), *before}), indent=1)])
            for name in (*files.values(), INDEX):
                (made / name).replace(folder / name)
        for name in before - set(files.values()):
            if _is_ours(folder / name):
                (folder / name).unlink()
        write_file(folder / _LIST, [json.dumps(sorted(files.values()), indent=1)])
    return [folder / INDEX, *(folder / n for n in files.values())]


def _linked(whole: ReportData, files: Mapping[str, str]) -> ReportData:
    return replace(whole, teams=[replace(t, file=files.get(t.name)) for t in whole.teams])


def team_file(team: str) -> str:
    """The name of a team's file: no two teams share one, whatever they are called."""
    plain = re.sub(r"[^a-z0-9]+", "-", team.lower()).strip("-")[:40].strip("-")
    return f"team-{plain}-{sha256(team.encode()).hexdigest()[:10]}.html"


def _listed(folder: Path) -> set[str]:
    """The files that an earlier call says it wrote: by name, so that nothing outside of the folder is ever named."""
    try:
        told = json.loads((folder / _LIST).read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    return {n for n in told if isinstance(n, str) and _NAME.fullmatch(n)} if isinstance(told, list) else set()


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as f:
            return not file.is_symlink() and f.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise UsageError(
            f"{one_line(str(path))} cannot be written: {e.strerror}", advice="Give --output or --folder another place."
        ) from None
