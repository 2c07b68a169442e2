"""Reading configuration files: YAML, `base:` inheritance, presets by name, dotted `key=value` changes.

An experiment is a difference. A file may say `base: other.yaml` (relative to itself) or `base: gpt-oss-12m` (a preset)
and then holds only what differs: mappings are merged key by key, everything else, lists included, is replaced. A
mapping that names another variant (its `variant`, `family` or `kind` differs) is replaced as a whole, because the old
variant's keys mean nothing to the new one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, cast

import yaml

from tsumiki.config.schema import parse
from tsumiki.errors import UserError

T = TypeVar("T")

TAGS = ("family", "variant", "kind")
"""The keys that say which member of a union a mapping describes."""


class _Loader(yaml.SafeLoader):
    """YAML as people write it: `1e-3` is a number (YAML 1.1, which PyYAML follows, calls it a string)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def load(source: str | Path, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a YAML file or a preset into `schema`.

    Args:
        source: a path to a YAML file, or a preset's name such as `gpt-oss-1m`.
        schema: a `@spec` class, or a union of them.
        overrides: changes such as `train.steps=100` or `data.sources.0.weight=2`; values are YAML.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown, a value has the wrong type.
    """
    return parse(load_mapping(source, overrides), schema, where=str(source))


def load_mapping(source: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved mapping behind `load`: bases merged, overrides applied, not yet checked against a schema."""
    mapping = _resolve(_locate(str(source), relative_to=Path()), seen=())
    for override in overrides:
        _apply(mapping, override)
    return mapping


def preset_names() -> list[str]:
    """The names of the shipped presets, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _presets() if entry.name.endswith(".yaml"))


def _presets() -> Iterable[Any]:
    return resources.files("tsumiki").joinpath("presets").iterdir()


def _locate(source: str, *, relative_to: Path) -> Path:
    if source in preset_names():
        return Path(str(resources.files("tsumiki").joinpath("presets", f"{source}.yaml")))
    path = relative_to / source
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"The configuration file '{path}' does not exist.")
    raise UserError(f"'{source}' is neither a file nor a preset; the presets are {', '.join(preset_names())}.")


def _resolve(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise UserError(f"{path}: 'base' leads back to a file that it came from; remove one link of the circle.")
    mapping = read_mapping(path)
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise UserError(f"{path}: 'base' must be a file's path or a preset's name, not {base!r}.")
    parent = _locate(base, relative_to=path.parent)
    return _merge(_resolve(parent, (*seen, path.resolve())), mapping)


def read_mapping(path: Path) -> dict[str, Any]:
    """What one YAML file holds, its `base` left as it stands.

    Raises:
        UserError: the file is no YAML, no UTF-8, or holds no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        line = (
            f", line {error.problem_mark.line + 1}"
            if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark
            else ""
        )
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise UserError(f"{path}{line}: this is not valid YAML: {problem}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: this is not UTF-8 text; save the file as UTF-8.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a configuration is a mapping of keys to values, and this file holds none.")
    return cast(dict[str, Any], content)


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = _merge(before, value) if _same_kind(before, value) else value
    return merged


def _same_kind(before: Any, value: Any) -> TypeGuard[dict[str, Any]]:
    """Both are mappings, and the new one does not name another member of a union than the old one."""
    if not isinstance(before, dict) or not isinstance(value, dict):
        return False
    return all(tag not in value or before.get(tag) == value[tag] for tag in TAGS)


def _apply(mapping: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"'{override}' is no change; write it as key=value, for example train.steps=100.")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"'{override}': the value is not valid YAML; put it in quotes.") from error
    *parents, last = key.split(".")
    here: Any = mapping
    for part in parents:
        here = _step(here, part, override)
    if isinstance(here, list):
        here[_index(here, last, override)] = value
    elif isinstance(here, dict):
        here[last] = _merge({"": here.get(last)}, {"": value})[""]
    else:
        raise UserError(f"'{override}': '{'.'.join(parents)}' is a single value and has no key '{last}'.")


def _step(here: Any, part: str, override: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, part, override)]
    if isinstance(here, dict):
        if here.get(part) is None:
            here[part] = {}
        return here[part]
    raise UserError(f"'{override}': there is nothing below a single value; look at '{part}'.")


def _index(items: list[Any], part: str, override: str) -> int:
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    raise UserError(f"'{override}': '{part}' is no position in a list of {len(items)}; count from 0.")
