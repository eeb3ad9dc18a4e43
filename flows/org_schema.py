"""What settings there are, read from the models: names for suggestions, one-value settings for variables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from tasks.core.mistakes import Key
from tasks.core.secret_refs import SecretRef

_ONE_VALUE = (str, int, float, bool, Path, SecretRef)


def kinds(annotation: Any) -> tuple[Any, ...]:
    """The types of an annotation, without None and what pydantic adds."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(k for part in get_args(annotation) for k in kinds(part))
    if origin is Literal:
        return (type(get_args(annotation)[0]),)
    return () if annotation is type(None) else (annotation,)


def known_names(model: type[BaseModel], key: Key) -> tuple[str, ...]:
    """The settings that stand at a key; none where it holds no section."""
    here: Any = model
    for part in key:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = kinds(field.annotation)[0] if field is not None else None
        elif get_origin(here) is tuple:
            here = kinds(get_args(here)[0])[0]
        elif get_origin(here) is dict:
            here = kinds(get_args(here)[1])[0]
        else:
            here = None
    return tuple(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else ()


def one_value_settings(model: type[BaseModel], above: Key = ()) -> Iterator[tuple[Key, tuple[Any, ...]]]:
    """Every setting of one value, at the top and in sections that stand there once; with its types."""
    for name, field in model.model_fields.items():
        found = kinds(field.annotation)
        if all(k in _ONE_VALUE for k in found):
            yield (*above, name), found
        elif not above and isinstance(found[0], type) and issubclass(found[0], BaseModel):
            yield from one_value_settings(found[0], (*above, name))


def references(section: BaseModel, above: Key = ()) -> Iterator[tuple[Key, SecretRef]]:
    """Every reference to a secret that the settings hold, with the key it stands at."""
    for name in type(section).model_fields:
        yield from _references(getattr(section, name), (*above, name))


def _references(value: Any, key: Key) -> Iterator[tuple[Key, SecretRef]]:
    if isinstance(value, SecretRef):
        yield key, value
    elif isinstance(value, BaseModel):
        yield from references(value, key)
    elif isinstance(value, tuple):
        for n, item in enumerate(value):
            yield from _references(item, (*key, n))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _references(item, (*key, name))
