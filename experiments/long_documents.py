"""Long documents out of short ones that are alike."""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from tsumiki.data import PackedSource, Tokenizer

POOL = 4096
"""Documents of a language that are laid end to end."""


def lay_end_to_end(
    sources: Sequence[PackedSource], tokenizer: Tokenizer, *, shortest: int, size: int, limit: int | None
) -> Iterator[str]:
    """Documents of `size` tokens or more, made of those of at least `shortest`; what is left at the end is dropped.

    A document is followed by the one that is most like it among those left: cos of the angle between the vectors
    log(1 + n_v) · log(N / N_v), n_v being how often token v occurs in it, and N_v in how many of N documents.

    Args:
        limit: tokens in all; None for all documents.
    """
    long_enough = (
        source.document(index)[1:]
        for source in sources
        for index in range(source.num_documents)
        if source.lengths[index] > shortest
    )
    texts = list(islice(long_enough, POOL))
    if not texts:
        return
    counts = torch.stack([torch.from_numpy(text).bincount(minlength=tokenizer.vocab_size) for text in texts]).float()
    rare = torch.log(len(texts) / (counts > 0).sum(dim=0).clamp(min=1))
    vectors = torch.nn.functional.normalize(counts.log1p() * rare, dim=1)
    unused = torch.ones(len(texts), dtype=torch.bool)
    written = 0
    while unused.any() and (limit is None or written < limit):
        last, parts = int(unused.nonzero()[0]), []
        while sum(map(len, parts)) < size:
            parts.append(texts[last])
            unused[last] = False
            if not unused.any():
                break
            last = int((vectors @ vectors[last]).where(unused, -1).argmax())
        if sum(map(len, parts)) >= size:
            yield "\n".join(tokenizer.decode(part.tolist()) for part in parts)
        written += sum(map(len, parts))
