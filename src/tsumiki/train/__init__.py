"""Training: one loop, and the parts it is made of."""

from tsumiki.train.config import RunConfig, SamplesConfig, TrainConfig
from tsumiki.train.run import RunResult, train
from tsumiki.train.stop import Interrupted

__all__ = ["Interrupted", "RunConfig", "RunResult", "SamplesConfig", "TrainConfig", "train"]
