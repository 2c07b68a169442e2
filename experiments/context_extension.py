"""YaRN as an extension: a model trained on 256 tokens reads up to eight times as many.

    python experiments/context_extension.py --config gpt-oss-5m --out runs/context-extension --workers 8

Trains with plain RoPE, then stretches RoPE in four ways: not at all, by position interpolation, NTK-aware, and by YaRN.
Each is measured as it is, stretched just as far as the text is long, and again after a short fine-tuning at the longest
length, stretched to that. The control is fine-tuned on the same tokens at the trained length.

Bits per byte are always of the same tokens, with more or fewer tokens before them. The text is held-out documents laid
end to end, each followed by the one most like it, so that the past is about the same people and places (as in arXiv
2310.10638): stories and chapters alone are too short. The texts of the fine-tuning are made in the same way, so that
its rows of 2,048 tokens need no other document mask than any training.

Writes `study.json` and the report, `en/context-extension.md` and `ja/context-extension.md`, into --out. Called
again, it writes the report anew.
"""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from context_extension_report import CONTROL, METHODS, report
from long_documents import lay_end_to_end
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

from tsumiki.compare.jobs import Job
from tsumiki.config import dump
from tsumiki.data import DataConfig, LocalSource, PackedSource, PreparedData, Tokenizer, prepare
from tsumiki.data.tokenizer import TokenizerFile
from tsumiki.errors import UserError
from tsumiki.evaluate.by_context import by_context
from tsumiki.evaluate.passkey import CANDIDATES, PasskeyTexts, passkey, passkey_texts
from tsumiki.generate.load import choose_device
from tsumiki.models import GPTOSS, LanguageModel, load_model
from tsumiki.models.build import model_of
from tsumiki.nn.rope import LinearScaling, NtkScaling, RopeConfig, YarnScaling
from tsumiki.train import RunConfig
from tsumiki.train.optimizer import Muon
from tsumiki.train.precision import autocast


def main() -> None:
    """Make the study, or find it made, and write its report."""
    parser = arguments(__doc__)
    parser.add_argument("--trained", type=int, default=256, help="tokens that the models are trained on")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2, 4, 8], help="lengths, in units of that")
    parser.add_argument("--tuning", type=float, default=0.1, help="tokens of fine-tuning, as a share of --tokens")
    parser.add_argument("--rate", type=float, default=0.3, help="its learning rate, as a share of training's")
    parser.add_argument("--blocks", type=int, default=256, help="blocks of 64 target tokens a language")
    parser.add_argument("--trials", type=int, default=200, help="passkey texts for each length and language")
    args = parser.parse_args()
    check(args)
    study = kept(args.out / "study.json", make, args)
    study |= {"trained_on": trained_on(args.out), "differences": compare(study["rows"], args)}
    write_reports("context-extension", args.out, args.figures, lambda language: report(study, language))


def make(args: Namespace) -> Row:
    """Train, fine-tune, measure."""
    given = config = base_config(args)
    data = prepare(config.data, config.tokenizer)
    config = replace(config, tokenizer=own_tokenizer(data.tokenizer, args.out))
    longest = args.trained * max(args.factors)
    long_data = write_long_documents(config, data, args, 4 * longest)
    seeds = range(args.seeds)
    base = {seed: Job(with_seed(config, seed), args.out / f"runs/trained/seed-{seed}") for seed in seeds}
    train_or_stop(list(base.values()), args.workers, args.device)
    tuned = {
        (method, seed): Job(
            tuning_config(config, long_data, method, seed, last_checkpoint(base[seed]), args),
            args.out / f"runs/{method}/seed-{seed}",
        )
        for method in (CONTROL, *METHODS)
        for seed in seeds
    }
    train_or_stop(list(tuned.values()), args.workers, args.device)

    measure = Measure(config, long_data, args)
    rows: list[Row] = []
    for seed in seeds:
        for method in METHODS:
            part = args.out / f"parts/trained-{method}-{seed}.json"
            what = {"tuned": False, "method": method, "seed": seed}
            rows += kept(part, measure.stretched, last_checkpoint(base[seed]), what)
        for method in (CONTROL, *METHODS):
            part = args.out / f"parts/tuned-{method}-{seed}.json"
            what = {"tuned": True, "method": method, "seed": seed}
            rows += kept(part, measure.tuned, last_checkpoint(tuned[method, seed]), what)
        print(f"seed {seed}: measured")
    return {
        "settings": settings(args),
        "config": dump(given),
        "tuning_config": dump(tuned["yarn", 0].config),
        "rows": rows,
    }


def base_config(args: Namespace) -> RunConfig:
    """The configuration with a context of `--trained` tokens, and as many tokens a step as it had."""
    config = configuration(args)
    if not isinstance(config.model, GPTOSS.Config):
        raise UserError(f"'{args.config}' is a {config.model.family}, but RoPE is stretched here; use a gpt_oss model.")
    config = with_length(config, args.trained, args.tokens)
    return replace(config, model=replace(config.model, max_seq_len=args.trained))


def own_tokenizer(tokenizer: Tokenizer, out: Path) -> TokenizerFile.Config:
    """Keep the tokenizer in a file, so that the long documents are read with it, too."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(out / "tokenizer.json")
    return TokenizerFile.Config(path=str(out / "tokenizer.json"))


def stretch(rope: RopeConfig, method: str, factor: float, trained: int) -> RopeConfig:
    """RoPE for `factor` times the trained length."""
    if factor == 1 or method in ("none", CONTROL):
        return rope
    scalings = {
        "linear": LinearScaling(factor=factor),
        "ntk": NtkScaling(factor=factor),
        "yarn": YarnScaling(factor=factor, original_max_seq_len=trained),
    }
    return replace(rope, scaling=scalings[method])


def tuning_config(
    config: RunConfig, data: DataConfig, method: str, seed: int, start: Path, args: Namespace
) -> RunConfig:
    """The fine-tuning of a trained model, at the longest length (the control: at the trained one), as many tokens."""
    factor = 1 if method == CONTROL else max(args.factors)
    length = args.trained * factor
    optimizer: Any = config.train.optimizer
    if isinstance(optimizer, Muon.Config):
        rest = replace(optimizer.rest, learning_rate=optimizer.rest.learning_rate * args.rate)
        optimizer = replace(optimizer, rest=rest)
    optimizer = replace(optimizer, learning_rate=optimizer.learning_rate * args.rate)
    assert isinstance(config.model, GPTOSS.Config)
    rope = stretch(config.model.rope, method, factor, args.trained)
    tuning = replace(
        config,
        name=f"{config.name}-{method}",
        start_from=str(start),
        data=data,
        model=replace(config.model, max_seq_len=length, rope=rope),
        train=replace(config.train, seed=seed, optimizer=optimizer),
    )
    return with_length(tuning, length, round(args.tokens * args.tuning))


def write_long_documents(config: RunConfig, data: PreparedData, args: Namespace, size: int) -> DataConfig:
    """Files of documents of `size` tokens, for training as much as the fine-tuning reads, and all held-out text."""
    languages = list(dict.fromkeys(source.language for source in data.train))
    for language in languages:
        for split, sources in (("train", data.train), ("validation", data.validation)):
            path = args.out / f"long/{language}.{split}.jsonl"
            if not path.is_file():
                own = [source for source in sources if source.language == language]
                limit = round(1.2 * args.tuning * args.tokens / len(languages)) if split == "train" else None
                texts = lay_end_to_end(own, data.tokenizer, shortest=args.trained, size=size, limit=limit)
                path.parent.mkdir(exist_ok=True)
                lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
                path.write_text("".join(lines), encoding="utf-8")
    files = [
        LocalSource.Config(
            language=language,
            name=f"long-{language}",
            train=str(args.out / f"long/{language}.train.jsonl"),
            validation=str(args.out / f"long/{language}.validation.jsonl"),
        )
        for language in languages
    ]
    return DataConfig(sources=tuple(files), cache=config.data.cache)


class Measure:
    """Reads the same held-out tokens and the same passkey texts with every model."""

    def __init__(self, config: RunConfig, data: DataConfig, args: Namespace) -> None:
        prepared = prepare(data, config.tokenizer)
        self.config, self.args = config, args
        self.device = choose_device(args.device)
        self.contexts = [args.trained * factor for factor in args.factors]
        self.sources = prepared.validation
        self.token_bytes = [len(prepared.tokenizer.token_bytes(token)) for token in range(config.model.vocab_size)]
        self.secrets = {
            (source.language, context): self.write_passkeys(source, prepared.tokenizer, context)
            for source in self.sources
            for context in self.contexts
        }

    def write_passkeys(self, source: PackedSource, tokenizer: Tokenizer, context: int) -> PasskeyTexts:
        """Texts of a length, out of some of the held-out documents."""
        some = range(min(20, source.num_documents))
        stories = [tokenizer.decode(source.document(index)[1:].tolist()) for index in some]
        return passkey_texts(tokenizer, stories, source.language, length=context, trials=self.args.trials)

    def stretched(self, checkpoint: Path, what: Row) -> list[Row]:
        """A model as it was trained, stretched as far as each length needs."""
        model = load_model(checkpoint)
        rows = []
        for factor, context in zip(self.args.factors, self.contexts, strict=True):
            config: Any = model.config
            rope = stretch(config.rope, what["method"], factor, self.args.trained)
            longer = model_of(replace(config, max_seq_len=context, rope=rope), model.state_dict())
            rows += self.read(longer, [context], what)
        return rows

    def tuned(self, checkpoint: Path, what: Row) -> list[Row]:
        """A fine-tuned model at every length that it knows."""
        model = load_model(checkpoint)
        return self.read(model, [context for context in self.contexts if context <= model.config.max_seq_len], what)

    def read(self, model: LanguageModel, contexts: list[int], what: Row) -> list[Row]:
        """Bits per byte and the share of secrets that were found, by language and length."""
        model.to(self.device)
        rows = []
        with autocast(self.config.train, self.device):
            for source in self.sources:
                costs = by_context(
                    model,
                    source,
                    self.token_bytes,
                    contexts=contexts,
                    longest=max(self.contexts),
                    targets=min(64, self.args.trained // 2),
                    blocks=self.args.blocks,
                )
                for cost in costs:
                    found = passkey(model, self.secrets[source.language, cost.context])
                    figures = {"bits_per_byte": cost.bits_per_byte, "passkey": found.value}
                    rows.append({**what, "language": source.language, "context": cost.context, **figures})
        return rows


def compare(rows: list[Row], args: Namespace) -> list[Row]:
    """The answers. Within a question all intervals hold at once in 95 % of studies.

    untuned: stretched, with a longer context, against the trained model with its own.
    tuned: fine-tuned, with the longest context, against the control with the trained one.
    price: fine-tuned, with the trained context, against the control with the same.
    yarn_untuned, yarn: YaRN against the other methods, before and after fine-tuning, with the longest context.
    passkey_trained: as trained, with the trained context, against chance: whether secrets can be found at all.
    passkey: fine-tuned, with the longest context, against chance.
    """
    short, longest = args.trained, args.trained * max(args.factors)
    others = [method for method in METHODS if method != "yarn"]
    longer = [short * factor for factor in args.factors if factor > 1]

    def bits(tuned: bool, method: str, context: int) -> list[float]:
        return by_seed(rows, "bits_per_byte", tuned=tuned, method=method, context=context)

    def found(tuned: bool, method: str, context: int) -> list[float]:
        return by_seed(rows, "passkey", tuned=tuned, method=method, context=context)

    before, control, chance = bits(False, "none", short), bits(True, CONTROL, short), [1 / CANDIDATES] * args.seeds
    questions = {
        "untuned": [(method, length, bits(False, method, length), before) for length in longer for method in METHODS],
        "tuned": [(method, longest, bits(True, method, longest), control) for method in METHODS],
        "price": [(method, short, bits(True, method, short), control) for method in METHODS],
        "yarn_untuned": [
            (method, longest, bits(False, "yarn", longest), bits(False, method, longest)) for method in others
        ],
        "yarn": [(method, longest, bits(True, "yarn", longest), bits(True, method, longest)) for method in others],
        "passkey_trained": [("none", short, found(False, "none", short), chance)],
        "passkey": [(method, longest, found(True, method, longest), chance) for method in METHODS],
    }
    return [
        {"question": question, "method": method, "context": context}
        | difference(arm, reference, comparisons=len(asked))
        for question, asked in questions.items()
        for method, context, arm, reference in asked
    ]


if __name__ == "__main__":
    run(main)
