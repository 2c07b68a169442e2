"""Checks of what stands before the model: tokenizer, packed data, batches."""

from collections.abc import Mapping, Sequence
from typing import Any

from tsumiki.data import PreparedData, Tokenizer, TrainingStream
from tsumiki.doctor.verdict import Verdict, check, failed, passed, warned

TEXTS = (
    "Once upon a time, there was a frog.  He couldn't swim!\n\n",
    "昔々、「おはよう。」と言った。\r\n　コーヒーを１２杯、ﾊﾝｶｸ、がぎ。",
    "naïve café \t\u00a0\ufeff 🐸👩‍👩‍👧 <|endoftext|> <unk> ▁ ##",
)
"""What lossy tokenizers stumble over: case, white space, combining marks, half-width letters, emoji, markers."""

DOCUMENTS = 32
"""How many documents of a source are looked at."""


class Pipeline:
    """A tokenizer and the data that it packed.

    Args:
        tokenizer: see `tsumiki.data.Tokenizer`; the data's own if left out.
        data: see `tsumiki.data.PreparedData`; None where there is none.
    """

    def __init__(self, tokenizer: Tokenizer | None, data: PreparedData | None) -> None:
        self.tokenizer: Any = tokenizer if tokenizer is not None or data is None else data.tokenizer
        self.data: Any = data
        self.stream: Any = None if data is None else TrainingStream(data.train, seq_len=64, seed=0)

    def can(self, question: str) -> bool:
        """Whether there is a `tokenizer`, or `data`."""
        return getattr(self, question) is not None


@check("pipeline", needs=("tokenizer",))
def round_trip(pipeline: Pipeline) -> Verdict:
    """A text that is encoded and decoded comes back byte for byte, and so do the packed documents.

    Finds normalisation, lower-casing, swallowed white space, unknown tokens.
    Misses characters that neither the probes nor the first documents hold.
    """
    tokenizer = pipeline.tokenizer
    texts = list(TEXTS)
    for source in pipeline.data.train if pipeline.data is not None else ():
        count = min(DOCUMENTS, source.num_documents)
        texts += [tokenizer.decode(source.document(number)[1:].tolist()) for number in range(count)]
    for text in texts:
        back = tokenizer.decode(tokenizer.encode(text))
        if back != text:
            return failed("text_changed", text=text[:80], back=back[:80])
    return passed(texts=len(texts))


@check("pipeline", needs=("data",))
def byte_accounting(pipeline: Pipeline) -> Verdict:
    """The tokens of a document stand for as many bytes as the text has, by which bits per byte divide.

    Finds special tokens, markers and replacement characters that are counted as text.
    Misses documents after the first of every source.
    """
    for source in (*pipeline.data.train, *pipeline.data.validation):
        for number in range(min(DOCUMENTS, source.num_documents)):
            found = sum(len(pipeline.tokenizer.token_bytes(int(token))) for token in source.document(number))
            expected = int(source.text_bytes[number])
            if found != expected:
                return failed("bytes_differ", source=source.name, document=number, bytes=expected, found=found)
    return passed()


@check("pipeline", needs=("data",))
def targets(pipeline: Pipeline) -> Verdict:
    """In a training batch the target of a token is the next one, document ids change where documents begin, and a step
    that is asked for again, in another order, gives the same tokens.

    Finds labels shifted once too often or not at all, ids off by one, shuffling that a resumed run cannot repeat.
    Misses what happens between the batch and the model.
    """
    stream = pipeline.stream
    batches = [stream.batch(step, 4) for step in (0, 7, 3)]
    for batch in batches:
        wrong = (batch.targets[:, :-1] != batch.ids[:, 1:]).nonzero()
        if len(wrong):
            row, position = (int(index) for index in wrong[0])
            found, expected = int(batch.targets[row, position]), int(batch.ids[row, position + 1])
            return failed("targets_not_next", row=row, position=position, found=found, expected=expected)
        begins = batch.ids[:, 1:] == pipeline.tokenizer.end_of_text_id
        wrong = (begins != (batch.documents.diff(dim=1) != 0)).nonzero()
        if len(wrong):
            return failed("document_ids_wrong", row=int(wrong[0, 0]), position=int(wrong[0, 1]) + 1)
    again = stream.batch(0, 4)
    if not (again.ids.equal(batches[0].ids) and again.targets.equal(batches[0].targets)):
        return failed("batch_changes", step=0)
    return passed(batches=len(batches))


@check("pipeline", needs=("data",))
def held_out(pipeline: Pipeline) -> Verdict:
    """Validation documents are not training documents, whole or in passages.

    Warns where some are, as in most public data sets; fails where half of a source's are.

    Misses paraphrases.
    """
    return compared(pipeline.data.manifest["overlap"])


def compared(overlap: Sequence[Mapping[str, Any]]) -> Verdict:
    """The verdict on what a manifest says about held-out and training text."""
    for entry in overlap:
        values = {name: entry[name] for name in ("source", "documents", "copies", "sharing", "passage")}
        if 2 * entry["copies"] >= entry["documents"]:
            return failed("held_out_seen", **values)
        if entry["copies"] or entry["sharing"]:
            return warned("held_out_seen", **values)
    return passed()
