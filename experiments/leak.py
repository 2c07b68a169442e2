"""The leak: one model with and without the mask that the article's authors forgot.

    python experiments/leak.py --config gpt-oss-5m --out runs/leak --workers 6

The leaking model is the same in everything but its mask: each token sees all tokens of its document, among them the
next one, which it is to predict. The doctor refuses it, so it is trained unexamined. Then three things are asked of
both models: what the loss says, as the training shows it; what the same weights are worth under a right mask, and as
the authors let them write, where the text ends at the present token and there is no future to see; what they write.

Writes `study.json` and the report, `en/leak.md` and `ja/leak.md`, into --out. Called again, it writes the report anew.
"""

import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any, Literal

import torch
from leak_report import ARMS, report
from study import (
    Row,
    arguments,
    by_seed,
    check,
    configuration,
    difference,
    kept,
    last_checkpoint,
    run,
    settings,
    train_or_stop,
    trained_on,
    with_length,
    with_seed,
    write_reports,
)
from torch import Tensor

from tsumiki.compare.jobs import Job
from tsumiki.config import dump
from tsumiki.data import PackedSource, PreparedData, Tokenizer, ValidationSet, prepare
from tsumiki.doctor import diagnose, read_history, sentence, too_good
from tsumiki.errors import UserError
from tsumiki.evaluate.bits_per_byte import bits_per_byte
from tsumiki.evaluate.by_context import by_context
from tsumiki.evaluate.repetition import repetition
from tsumiki.evaluate.surface import script_mixing
from tsumiki.evaluate.units import units
from tsumiki.generate import TextStream
from tsumiki.generate.load import choose_device
from tsumiki.models import LanguageModel, build_model, load_model
from tsumiki.models.build import model_of
from tsumiki.models.language_model import DecoderConfig
from tsumiki.nn.attention import VARIANTS, GroupedQueryAttention, Mask
from tsumiki.nn.softmax import softmax
from tsumiki.report import LANGUAGES
from tsumiki.spec import spec
from tsumiki.train import RunConfig
from tsumiki.train.precision import autocast

PROMPTS = ("Once upon a time", "こんにちは", "むかしむかし、")


class Leaking(GroupedQueryAttention):
    """Grouped-query attention whose mask was forgotten: the future is seen like the past."""

    @spec
    class Config(GroupedQueryAttention.Config):
        """The same options."""

        variant: Literal["leaking"] = "leaking"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        self.mask = Mask(causal=False, window=self.mask.window)


VARIANTS["leaking"] = Leaking


def main() -> None:
    """Make the study, or find it made, and write its report."""
    parser = arguments(__doc__)
    parser.add_argument("--read", type=int, default=128, help="tokens before a token that is predicted as in writing")
    parser.add_argument("--blocks", type=int, default=2048, help="such tokens a language")
    parser.add_argument("--texts", type=int, default=64, help="texts a language, temperature and model")
    parser.add_argument("--write", type=int, default=120, help="tokens of a text")
    args = parser.parse_args()
    check(args)
    study = kept(args.out / "study.json", make, args)
    study |= {"trained_on": trained_on(args.out), "differences": compare(study["rows"])}
    write_reports("leak", args.out, args.figures, lambda language: report(study, language))


def make(args: Namespace) -> Row:
    """Train, ask the doctor, measure."""
    sound = configuration(args)
    sound = with_length(sound, sound.train.seq_len, args.tokens)
    sound = replace(sound, train=replace(sound.train, log_every=max(1, sound.train.steps // 50)))
    configs = {"sound": sound, "leaking": replace(sound, model=with_attention(sound.model, Leaking))}
    jobs = {
        (arm, seed): Job(
            with_seed(configs[arm], seed), args.out / f"runs/{arm}/seed-{seed}", skip_doctor=arm == "leaking"
        )
        for arm in ARMS
        for seed in range(args.seeds)
    }
    train_or_stop(list(jobs.values()), args.workers, args.device)

    data = prepare(sound.data, sound.tokenizer)
    rows, texts, curves = [], [], []
    for (arm, seed), job in jobs.items():
        model = load_model(last_checkpoint(job)).to(choose_device(args.device))
        parts, what = args.out / "parts", {"arm": arm, "seed": seed}
        with autocast(sound.train, model.unembedding.device):
            rows += kept(parts / f"read-{arm}-{seed}.json", read, model, data, job.config, args, what)
            if seed == 0:
                texts += kept(parts / f"texts-{arm}.json", answer, model, data.tokenizer, arm, args)
        curves += [
            {"arm": arm, "seed": seed, "tokens": sum(line["tokens"].values()), "loss": line["loss"]}
            for line in read_history(job.run_dir).updates
        ]
        print(f"{arm}, seed {seed}: measured")
    return {
        "settings": settings(args),
        "config": dump(sound),
        "doctor": {arm: kept(args.out / f"parts/doctor-{arm}.json", examine, configs[arm].model) for arm in ARMS},
        "rows": rows,
        "texts": texts,
        "curves": curves,
    }


def with_attention(config: DecoderConfig, variant: type[GroupedQueryAttention]) -> DecoderConfig:
    """The same model with another variant of attention that has the same options.

    Raises:
        UserError: the model's attention has other options.
    """
    options = dump(config.attention)
    if options.pop("variant") not in ("grouped_query", "leaking"):
        raise UserError("The leak is studied in grouped-query attention; set model.attention.variant to grouped_query.")
    return replace(config, attention=variant.Config(**options))


def examine(config: DecoderConfig) -> Row:
    """What the doctor says of a fresh model: every check that fails, in both languages."""
    diagnosis = diagnose(build_model(config))
    return {
        "ok": diagnosis.ok,
        "failures": [{language: sentence(found, language) for language in LANGUAGES} for found in diagnosis.failures],
    }


def read(model: LanguageModel, data: PreparedData, config: RunConfig, args: Namespace, what: Row) -> list[Row]:
    """What a model is worth by the three ways to read, and what its texts are like, by language."""
    tokenizer, device = data.tokenizer, model.unembedding.device
    masked = model_of(with_attention(model.config, GroupedQueryAttention), model.state_dict()).to(device)
    token_bytes = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    tokens = config.train.steps * config.train.batch_size * config.train.seq_len
    rows = []
    for source in largest_by_language(data.validation):
        held_out = ValidationSet(source, seq_len=config.train.seq_len, max_bytes=config.train.evaluate_max_bytes)
        shown = bits_per_byte(model, held_out).bits_per_byte
        (written,) = by_context(
            model, source, token_bytes, contexts=[args.read], longest=args.read, targets=1, blocks=args.blocks
        )
        figures = {
            "shown": shown,
            "masked": bits_per_byte(masked, held_out).bits_per_byte,
            "written": written.bits_per_byte,
            "alarm": too_good(shown, tokens=tokens, language=source.language) is not None,
        }
        for temperature in (0, 1):
            found = judge(continuations(model, source, tokenizer, temperature, args), source.language)
            figures |= {f"{name}_{temperature}": value for name, value in found.items()}
        rows.append({**what, "source": source.name, "language": source.language, **figures})
    return rows


def largest_by_language(sources: Sequence[PackedSource]) -> list[PackedSource]:
    """Of each language the source with the most text."""
    return list({source.language: source for source in sorted(sources, key=lambda one: one.num_bytes)}.values())


def continuations(
    model: LanguageModel, source: PackedSource, tokenizer: Tokenizer, temperature: float, args: Namespace
) -> list[str]:
    """What a model writes after the first 16 tokens of held-out documents."""
    long = [index for index in range(source.num_documents) if source.lengths[index] > 16][: args.texts]
    prompts = torch.tensor([source.document(index, 0, 17).tolist() for index in long])
    return write(model, tokenizer, prompts, args.write, temperature=temperature, seed=0)


@torch.inference_mode()
def write(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Tensor, tokens: int, *, temperature: float, seed: int
) -> list[str]:
    """What follows each prompt, as the authors wrote it: at each token the whole text is read, and its end predicts.

    The end of text is not written, so that all texts are of one length.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = prompts.to(model.unembedding.device)
    for _ in range(tokens):
        logits = model.logits(model.hidden_states(ids)[:, -1]).float().cpu()
        logits[:, tokenizer.end_of_text_id] = -math.inf
        if temperature == 0:
            following = logits.argmax(dim=1, keepdim=True)
        else:
            following = torch.multinomial(softmax(logits / temperature, dim=-1), 1, generator=generator)
        ids = torch.cat([ids, following.to(ids.device)], dim=1)
    return [decode(tokenizer, row) for row in ids[:, prompts.shape[1] :].tolist()]


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of some tokens, without what is no UTF-8."""
    stream = TextStream(tokenizer)
    return "".join(map(stream.push, ids))


def judge(texts: Sequence[str], language: str) -> dict[str, float]:
    """How much texts repeat themselves (4-grams of words; in Japanese of characters), and how they mix scripts."""
    repeated = [value for text in texts if not math.isnan(value := repetition(units(text, language)))]
    return {
        "repetition": mean(repeated) if repeated else 0.0,
        "mixing": mean(script_mixing(text, language) for text in texts),
    }


def answer(model: LanguageModel, tokenizer: Tokenizer, arm: str, args: Namespace) -> list[Row]:
    """What a model writes after the prompts of the article: once at temperature 0, twice at 1."""
    rows = []
    for prompt in PROMPTS:
        ids = torch.tensor([[tokenizer.end_of_text_id, *tokenizer.encode(prompt)]])
        for temperature, seed in ((0, 0), (1, 0), (1, 1)):
            (text,) = write(model, tokenizer, ids, args.write, temperature=temperature, seed=seed)
            rows.append({"arm": arm, "prompt": prompt, "temperature": temperature, "text": text})
    return rows


def compare(rows: list[Row]) -> list[Row]:
    """The leaking model against the sound one: what it is worth, and what its texts are like."""
    questions = (("shown", "masked", "written"), ("repetition_0", "repetition_1", "mixing_0", "mixing_1"))
    return [
        {"figure": figure}
        | difference(*(by_seed(rows, figure, arm=arm) for arm in ("leaking", "sound")), comparisons=len(figures))
        for figures in questions
        for figure in figures
    ]


if __name__ == "__main__":
    run(main)
