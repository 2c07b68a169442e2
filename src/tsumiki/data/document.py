"""What a source gives: documents."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One story, exactly as its source holds it.

    Args:
        text: the story; no normalisation, so that its UTF-8 bytes can be counted and given back.
        language: `en`, `ja` or another tag.
        source: the name of its source.
        key: which document of its source this is, such as `stories.jsonl:17`; for people, in reports.
    """

    text: str
    language: str
    source: str
    key: str
