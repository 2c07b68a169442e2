"""Checking plain data against specs, and writing specs as plain data."""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tsumiki.errors import UserError

T = TypeVar("T")

UNKNOWN_KEY = ("unexpected_keyword_argument", "extra_forbidden")
MISSING_KEY = ("missing", "missing_argument", "missing_keyword_only_argument")
"""What pydantic calls these errors."""

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "dataclass_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}
"""What a value must be, by the name of pydantic's error."""


def parse(data: Mapping[str, Any], schema: type[T], where: str) -> T:
    """Check `data` against `schema` and make the instance.

    Args:
        data: plain data, as YAML or JSON give it.
        schema: a `@spec` class, or `Annotated[..., OneOf(...)]`.
        where: what to call the data in an error, usually the file.

    Raises:
        UserError: one sentence that names the key, and the nearest known key for an unknown one.
    """
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: a value is neither text, number, true/false, list nor mapping ({error}).") from error
    adapter: TypeAdapter[T] = TypeAdapter(schema)
    try:
        # JSON, because in strict mode only JSON lets a list stand for a tuple.
        return adapter.validate_json(text)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(error.errors(), schema, data)}") from error


def dump(instance: Any) -> dict[str, Any]:
    """A spec as plain data that `parse` reads back to an equal instance."""
    return json.loads(json.dumps(dataclasses.asdict(instance)))


def dump_yaml(data: Any) -> str:
    """A spec or plain data as YAML, keys in the order in which the spec declares them."""
    plain = dump(data) if dataclasses.is_dataclass(data) else data
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=120)


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys at which two plain configurations differ, with both values.

    A list of numbers or words is one value; a mapping that stands on one side only is told key by key.
    """
    if isinstance(old, dict) or isinstance(new, dict):
        before, after = (side if isinstance(side, dict) else {} for side in (old, new))
        for name in dict.fromkeys((*before, *after)):
            yield from differences(before.get(name), after.get(name), f"{key}.{name}" if key else name)
    elif _are_mappings(old) and _are_mappings(new) and len(old) == len(new):
        for number, (first, second) in enumerate(zip(old, new, strict=True)):
            yield from differences(first, second, f"{key}.{number}")
    elif old != new:
        yield key, old, new


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _sentence(errors: list[ErrorDetails], schema: Any, data: Mapping[str, Any]) -> str:
    """One sentence about the first error; an unknown key comes first, since it often explains a missing one."""
    error = next((error for error in errors if error["type"] in UNKNOWN_KEY), errors[0])
    kind, context = error["type"], error.get("ctx", {})
    path = _path_in_data(error["loc"], data)
    key = ".".join(path) or "the configuration"
    if kind in UNKNOWN_KEY:
        return f"unknown key '{key}'{_suggest(path[-1], _known_keys(schema, path[:-1], data))}"
    if kind in MISSING_KEY:
        return f"the key '{'.'.join((*path, str(error['loc'][-1])))}' is missing; add it."
    if kind == "union_tag_not_found":
        tag = str(context["discriminator"]).strip("'")
        return f"the key '{'.'.join((*path, tag))}' is missing; it says which kind this is."
    if kind == "union_tag_invalid":
        tag = str(context["discriminator"]).strip("'")
        known = [name.strip("' ") for name in str(context["expected_tags"]).split(",")]
        return f"'{'.'.join((*path, tag))}' is '{context['tag']}'{_suggest(str(context['tag']), known)}"
    if kind == "value_error":
        return f"{key}: {context['error']}" if path else str(context["error"])
    expected = EXPECTED.get(kind) or context.get("expected") or error["msg"].removeprefix("Input should be ")
    return f"'{key}' is {json.dumps(error['input'], ensure_ascii=False)}, but must be {expected}."


def _path_in_data(location: tuple[Any, ...], data: Any) -> tuple[str, ...]:
    """The keys of `location` that stand in the data; pydantic also lists the names of union members."""
    path: list[str] = []
    for part in location:
        stands_in_data = part in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(part, int)
        if stands_in_data:
            path.append(str(part))
            data = data[part]
    return tuple(path)


def _known_keys(schema: Any, path: tuple[str, ...], data: Any) -> list[str]:
    """The keys of the spec at `path`."""
    for part in path:
        if isinstance(data, list):
            schema, data = get_args(schema)[0], data[int(part)]
        else:
            schema, data = get_type_hints(_spec_of(schema, data), include_extras=True)[part], data[part]
    return [field.name for field in dataclasses.fields(_spec_of(schema, data))]


def _spec_of(schema: Any, data: Mapping[str, Any]) -> Any:
    """The spec that `data` means, where `schema` is a spec, a tagged union of specs, or an optional one of these."""
    if dataclasses.is_dataclass(schema):
        return schema
    for union in getattr(schema, "__metadata__", ()):
        return union.config(data[union.tag])
    return next(_spec_of(member, data) for member in get_args(schema) if member is not type(None))


def _suggest(word: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    return f"; known are {', '.join(known)}."
