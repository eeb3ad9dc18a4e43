"""The card of a lake, ``lake.json``: which key its HMACs have, and of which form and schema it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tasks.core.errors import LakeError
from tasks.core.identity import FP_VERSION
from tasks.lake.places import Place
from tasks.lake.schema import OLDEST_SCHEMA, SCHEMA_VERSION

CARD = "lake.json"
_FORMAT = 1


def new_card(key_id: str) -> bytes:
    """The card of a lake that is made now."""
    told = {
        "format": _FORMAT,
        "schema_version": SCHEMA_VERSION,
        "fp_version": FP_VERSION,
        "key_id": key_id,
        "created_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(told, indent=1).encode()


def read_card(place: Place, *, to_migrate: bool = False) -> tuple[str, int]:
    """(id of the HMAC key, schema version). Raises LakeError: a newer or an older program made the lake; with
    ``to_migrate`` one is old only where it cannot be migrated."""
    try:
        told = json.loads(place.read(CARD))
        key_id, form, schema = str(told["key_id"]), int(told["format"]), int(told["schema_version"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise LakeError(f"{place}/{CARD} cannot be read", advice="Restore it from a backup.") from e
    if form > _FORMAT or schema > SCHEMA_VERSION:
        raise LakeError(f"{place} was made by a newer Nightwarden", advice="Update this one.")
    if form < _FORMAT or schema < (OLDEST_SCHEMA if to_migrate else SCHEMA_VERSION):
        raise LakeError(
            f"{place} was made by an older Nightwarden (format {form}, schema {schema}; "
            f"this one has {_FORMAT} and {SCHEMA_VERSION})",
            advice="Back it up and run `nightwarden lake migrate` (--dry-run says what that changes)."
            if form == _FORMAT and schema >= OLDEST_SCHEMA
            else "Move it away and patrol again: the next run makes a new one. "
            "The program that made it can still read it.",
        )
    return key_id, schema


def note_schema(place: Place) -> None:
    """Say in the lake that its tables are those of this program."""
    told = json.loads(place.read(CARD))
    place.write(CARD, json.dumps({**told, "schema_version": SCHEMA_VERSION}, indent=1).encode())
