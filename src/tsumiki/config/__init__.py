"""From YAML to specs and back: inheritance, dotted changes, and errors that name the key."""

from tsumiki.config.files import load, load_mapping, preset_names, read_mapping
from tsumiki.config.schema import differences, dump, dump_yaml, parse
from tsumiki.spec import OneOf

__all__ = ["OneOf", "differences", "dump", "dump_yaml", "load", "load_mapping", "parse", "preset_names", "read_mapping"]
