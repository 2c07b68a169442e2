"""From sources of text to batches of tokens.

`prepare` does it all: it reads the sources, makes the tokenizer, packs the tokens and compares held-out with training
text. `TrainingStream` and `ValidationSet` then serve what it made.
"""

from tsumiki.data.document import Document
from tsumiki.data.overlap import Overlap, find_overlap
from tsumiki.data.packing import PackedSource, Progress, pack
from tsumiki.data.preparation import DataConfig, PreparedData, packed, prepare
from tsumiki.data.sources import SOURCES, HubSource, LocalSource, SampleSource, Source, SourceConfig
from tsumiki.data.stream import Batch, TrainingStream
from tsumiki.data.tokenizer import (
    END_OF_TEXT,
    TOKENIZERS,
    TiktokenTokenizer,
    Tokenizer,
    TokenizerConfig,
    TokenizerFile,
    TrainedTokenizer,
)
from tsumiki.data.tokenizer_report import TokenizerReport, report_tokenizer
from tsumiki.data.validation import ValidationSet

__all__ = [
    "END_OF_TEXT",
    "SOURCES",
    "TOKENIZERS",
    "Batch",
    "DataConfig",
    "Document",
    "HubSource",
    "LocalSource",
    "Overlap",
    "PackedSource",
    "PreparedData",
    "Progress",
    "SampleSource",
    "Source",
    "SourceConfig",
    "TiktokenTokenizer",
    "Tokenizer",
    "TokenizerConfig",
    "TokenizerFile",
    "TokenizerReport",
    "TrainedTokenizer",
    "TrainingStream",
    "ValidationSet",
    "find_overlap",
    "pack",
    "packed",
    "prepare",
    "report_tokenizer",
]
