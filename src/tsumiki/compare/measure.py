"""What is measured once an arm is trained, on its first seed: what its loss does not tell."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

from tsumiki.data import PackedSource, ValidationSet
from tsumiki.evaluate.bits_per_byte import Bucket, by_position, token_losses
from tsumiki.evaluate.evaluation import save
from tsumiki.evaluate.samples import draw_samples
from tsumiki.evaluate.texts import judge_texts
from tsumiki.files import read_json
from tsumiki.generate import Completion, Sampling, TextModel, load
from tsumiki.generate.engine import Generation
from tsumiki.generate.load import choose_device
from tsumiki.interpret import record
from tsumiki.interpret.findings import highest_scores
from tsumiki.interpret.heads import induction_scores, sink_share
from tsumiki.models import LanguageModel
from tsumiki.train import RunConfig
from tsumiki.train.checkpoint import Checkpoints
from tsumiki.train.config import SamplesConfig
from tsumiki.train.manifest import device_name

FORMAT, FILE = 2, "measured.json"

BUCKETS = 16
"""Parts of the window by which the loss is told."""

TEXTS, TEXT_TOKENS = 32, 128
"""How many texts of a language are written to be judged, and how long they get."""

LENGTHS, ROUNDS = (32, 128), 2
"""Tokens of the texts that are timed, and how often each is; the fastest counts, since others only slow it down."""

OPENING = 16
"""Tokens of the opening that the attention map shows twice."""


def measure(config: RunConfig, run_dir: Path, held_out: Sequence[PackedSource], device: str | None) -> dict[str, Any]:
    """All of it, from the last checkpoint, in fp32. It is measured once and kept in the run's directory.

    Args:
        held_out: packed with the run's tokenizer.
        device: that of the training. The CPU is timed besides.
    """
    path = run_dir / FILE
    if not path.is_file() or read_json(path)["format"] != FORMAT:
        checkpoint = Checkpoints(run_dir, keep_last=config.train.keep_last).at(config.train.steps)
        model = load(checkpoint, device=device)
        languages = list(dict.fromkeys(source.language for source in held_out))
        by_language = {name: [source for source in held_out if source.language == name] for name in languages}
        figures = {
            "format": FORMAT,
            "positions": {
                language: positions(model, sources, config.train.seq_len, config.train.evaluate_max_bytes)
                for language, sources in by_language.items()
            },
            "samples": samples(model, config.train.samples),
            "texts": {language: texts(model, sources, language) for language, sources in by_language.items()},
            "attention": attention(model, held_out[0]),
            "generation": generation(model.model),
        }
        save(figures, path)
    return read_json(path)


def positions(model: TextModel, sources: Sequence[PackedSource], seq_len: int, max_bytes: int) -> list[dict[str, Any]]:
    """Bits per byte by position in the window, in `BUCKETS` parts of it, over all sources of a language."""
    token_bytes = [len(model.tokenizer.token_bytes(token)) for token in range(model.tokenizer.vocab_size)]
    read = []
    for source in sources:
        text = ValidationSet(source, seq_len=seq_len, max_bytes=max_bytes)
        width = -(-seq_len // BUCKETS)
        read.append(by_position(token_losses(model.model, text), text, token_bytes, width=width))
    return [
        {"start": found.start, "stop": found.stop, "bits_per_byte": found.bits_per_byte}
        for found in (together(buckets) for buckets in zip(*read, strict=True))
        if found.num_bytes
    ]


def together(buckets: Sequence[Bucket]) -> Bucket:
    """The same positions of several texts."""
    return Bucket(
        start=buckets[0].start,
        stop=buckets[0].stop,
        nats=sum(bucket.nats for bucket in buckets),
        num_tokens=sum(bucket.num_tokens for bucket in buckets),
        num_bytes=sum(bucket.num_bytes for bucket in buckets),
    )


def samples(model: TextModel, settings: SamplesConfig) -> list[dict[str, Any]]:
    """What the model writes after each prompt, at each temperature."""
    written = []
    for prompt, temperature in product(settings.prompts, settings.temperatures):
        sampling = Sampling(temperature=temperature, seed=len(written))
        pieces = Completion(model.model, model.tokenizer, prompt, sampling, max_tokens=settings.max_tokens)
        written.append({"prompt": prompt, "temperature": temperature, "text": "".join(pieces)})
    return written


def texts(model: TextModel, sources: Sequence[PackedSource], language: str) -> dict[str, Any] | None:
    """How the model writes after the openings of held-out stories; None where no story is long enough for that."""
    samples = draw_samples(
        model,
        sources,
        number=TEXTS,
        max_tokens=min(TEXT_TOKENS, model.model.config.max_seq_len),
        temperature=1.0,
        seed=0,
    )
    return judge_texts(samples, None, language) if samples else None


def attention(model: TextModel, source: PackedSource) -> dict[str, Any]:
    """The heads' highest scores, and the weights of the head with the highest induction score.

    The map is of the opening of the longest held-out story and the same again: a head of induction, which looks for
    what followed last time, shows a stripe there.
    """
    end, *story = max((source.document(index).tolist() for index in range(source.num_documents)), key=len)
    half = story[: min(OPENING, (model.model.config.max_seq_len - 1) // 2)]
    trace = record(model.model, [end, *half, *half], model.tokenizer)
    scores = induction_scores(trace.attention)
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return {
        "highest": highest_scores(model.model, model.tokenizer),
        "sink_share": sink_share(trace.attention),
        "layer": layer,
        "head": head,
        "labels": trace.labels,
        "weights": trace.attention[layer, head].tolist(),
    }


def generation(model: LanguageModel) -> list[dict[str, Any]]:
    """Seconds that texts take, greedy, one by one and uncompiled, on the model's device and on the CPU."""
    own, context = model.unembedding.device, model.config.max_seq_len
    lengths = sorted({min(length, context) for length in LENGTHS})
    rows = []
    for device in dict.fromkeys((own, choose_device("cpu"))):
        model = model.to(device)
        for use_cache in (True, False):
            write(model, 2, use_cache)  # what happens only once is not counted
            for length in lengths:
                seconds = min(write(model, length, use_cache) for _ in range(ROUNDS))
                rows.append({"device": device_name(device), "cache": use_cache, "tokens": length, "seconds": seconds})
    return rows


def write(model: LanguageModel, num_tokens: int, use_cache: bool) -> float:
    """The seconds that a text of so many tokens takes, whatever it says."""
    start = perf_counter()
    for _ in Generation(model, [0], Sampling(temperature=0.0), max_tokens=num_tokens, use_cache=use_cache):
        pass
    return perf_counter() - start
