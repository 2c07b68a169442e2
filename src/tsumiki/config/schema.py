"""Checking plain data against specs, and writing specs as plain data."""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from tsumiki.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Marks a field as a union over a registry: `Annotated[AttentionConfig, OneOf(VARIANTS, tag="variant")]`.

    The registry maps each tag's value to a class that carries its spec as `.Config`. It is read when something is
    parsed, so a variant that was registered a moment ago is known.
    """

    registry: Mapping[str, Any]
    tag: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The union's schema, made from the registry as it stands now."""
        choices = {name: handler.generate_schema(member.Config) for name, member in self.registry.items()}
        return core_schema.tagged_union_schema(choices, discriminator=self.tag)


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
        raise UserError(f"{where}: {_sentence(error.errors()[0], schema, data)}") from error


def dump(instance: Any) -> dict[str, Any]:
    """A spec as plain data that `parse` reads back to an equal instance."""
    return json.loads(json.dumps(dataclasses.asdict(instance)))


def dump_yaml(data: Any) -> str:
    """A spec or plain data as YAML, keys in the order in which the spec declares them."""
    plain = dump(data) if dataclasses.is_dataclass(data) else data
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=120)


def _sentence(error: ErrorDetails, schema: Any, data: Mapping[str, Any]) -> str:
    path = _path_in_data(error["loc"], data)
    key = ".".join(path) or "the configuration"
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known_keys(schema, path[:-1], data)
        return f"unknown key '{key}'{_suggest(path[-1], known)}"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"the key '{key}' is missing; add it."
    if kind == "union_tag_not_found":
        tag = str(context["discriminator"]).strip("'")
        return f"the key '{'.'.join((*path, tag))}' is missing; it says which kind this is."
    if kind == "union_tag_invalid":
        tag = str(context["discriminator"]).strip("'")
        known = [name.strip("' ") for name in str(context["expected_tags"]).split(",")]
        return f"'{'.'.join((*path, tag))}' is '{context['tag']}'{_suggest(str(context['tag']), known)}"
    if kind == "literal_error":
        return f"'{key}' is {error['input']!r}, but must be {context['expected']}."
    if kind == "value_error":
        return f"{'' if not path else key + ': '}{context['error']}"
    message = error["msg"].removeprefix("Input should be ")
    return f"'{key}' is {error['input']!r}, but must be {message}."


def _path_in_data(location: tuple[int | str, ...], data: Any) -> tuple[str, ...]:
    """The keys of `location` that stand in the data; pydantic also lists the names of union members."""
    path: list[str] = []
    here = data
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(here, Mapping) and (part in here or last):
            path.append(str(part))
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            path.append(str(part))
            here = here[part]
    return tuple(path)


def _known_keys(schema: Any, path: tuple[str, ...], data: Any) -> list[str]:
    """The keys that the spec at `path` knows; follows tagged unions by the tag that the data carries."""
    member = _member(schema, data)
    if path and member is not None and path[0] in get_type_hints(member):
        return _known_keys(get_type_hints(member, include_extras=True)[path[0]], path[1:], data[path[0]])
    if path and path[0].isdecimal():
        return _known_keys(get_args(schema)[0], path[1:], data[int(path[0])])
    return [field.name for field in dataclasses.fields(member)] if member is not None else []


def _member(schema: Any, data: Any) -> Any:
    """The spec class that `data` means, where `schema` is a spec, an optional spec or a union of specs."""
    if dataclasses.is_dataclass(schema):
        return schema
    for argument in get_args(schema):
        if isinstance(argument, OneOf):
            return argument.registry[data[argument.tag]].Config
        found = _member(argument, data)
        if found is not None and not any(isinstance(other, OneOf) for other in get_args(schema)):
            return found
    return None


def _suggest(word: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean '{nearest[0]}'?"
    return f"; known are {', '.join(known)}."
