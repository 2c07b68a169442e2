"""Where text comes from, one file a kind of source.

To add a kind: write a file with a `Source` and its `@spec Config`, and name it in `SOURCES`.
"""

from typing import Any

from tsumiki.data.sources.base import Source, SourceConfig, Split, group_of, is_held_out
from tsumiki.data.sources.hub import HubSource
from tsumiki.data.sources.local import LocalSource
from tsumiki.data.sources.sample import SampleSource

SOURCES: dict[str, type[Any]] = {
    "sample": SampleSource,
    "local": LocalSource,
    "hub": HubSource,
}
"""Every source by the `kind` that a configuration names it with."""

__all__ = [
    "SOURCES",
    "HubSource",
    "LocalSource",
    "SampleSource",
    "Source",
    "SourceConfig",
    "Split",
    "group_of",
    "is_held_out",
]
