"""`@spec`: what a configuration is.

A spec is a dataclass that is frozen, takes keyword arguments only and is closed to unknown keys. It holds data and
checks of that data, nothing else. Blocks take specs, so that a block can be used from plain Python; `tsumiki.config`
turns YAML into specs, so that the same block can be used from a file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

_STRICT = {"extra": "forbid", "strict": True}
"""How `tsumiki.config` validates a spec: unknown keys are errors, and "3" is no number. Plain data, so that this module
needs no validation library."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def spec(cls: type[T]) -> type[T]:
    """Make `cls` a configuration: a frozen, keyword-only dataclass without room for unknown keys.

    Checks that concern a value go into `__post_init__` and raise `ValueError` with one sentence that names the field.
    """
    decorate: Callable[[type[Any]], type[Any]] = dataclass(frozen=True, kw_only=True)
    decorated = decorate(cls)
    decorated.__pydantic_config__ = _STRICT
    return decorated


@dataclass(frozen=True, eq=False)  # a registry is known by its identity: it grows
class OneOf:
    """Marks a field as one of several specs, told apart by a tag: `Annotated[Config, OneOf(VARIANTS, tag="variant")]`.

    The registry maps each value of the tag to a spec, or to a class that carries its spec as `.Config`. It is read when
    something is parsed, so that a variant that was registered a moment ago is known.
    """

    registry: Mapping[str, Any]
    tag: str

    def config(self, name: str) -> Any:
        """The spec that a value of the tag stands for."""
        member = self.registry[name]
        return getattr(member, "Config", member)

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """How pydantic validates the field; imported here, since specs by themselves need no validation library."""
        from pydantic_core import core_schema

        choices = {name: handler.generate_schema(self.config(name)) for name in self.registry}  # pyright: ignore[reportFunctionMemberAccess]
        return core_schema.tagged_union_schema(choices, discriminator=self.tag)
