"""What every way to get a tokenizer has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from tsumiki.data.sources import Source
from tsumiki.data.tokenizer.core import Tokenizer
from tsumiki.spec import spec


@spec
class TokenizerConfig:
    """Each way to get a tokenizer adds its own `kind` and options."""

    kind: str


class TokenizerRecipe(ABC):
    """A way to get a tokenizer. What it makes is cached by its identity."""

    @abstractmethod
    def build(self, sources: Sequence[Source]) -> Tokenizer:
        """Make the tokenizer."""

    @abstractmethod
    def identity(self, sources: Sequence[Source]) -> Any:
        """Plain data that changes when `build` would make another tokenizer."""
