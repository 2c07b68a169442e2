"""The options that every feed-forward layer has."""

from tsumiki.spec import spec


@spec
class FeedForwardConfig:
    """What all variants share; each adds its own `variant` tag and options.

    Args:
        d_ff: width of the layer between the two projections, F.
    """

    variant: str
    d_ff: int

    def __post_init__(self) -> None:
        if self.d_ff < 1:
            raise ValueError(f"d_ff is {self.d_ff}, but must be 1 or more.")
