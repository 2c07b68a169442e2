"""A released model's card, in English and in Japanese. Every figure is read from a file that a command wrote.

What no file knows, a person says in a file of their own, an `About`: who wrote the texts, what to beware of, and which
figures others reached on the same text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from tsumiki.export.card import code, sources, table, training, verified
from tsumiki.export.records import Records
from tsumiki.generate import one_line
from tsumiki.spec import spec

NUM_SAMPLES = 5

Language = Literal["en", "ja"]
Say = Callable[[str, str], str]
"""Chooses between a sentence in English and the same in Japanese."""


@spec
class Both:
    """The same in English and in Japanese, in Markdown."""

    en: str
    ja: str


@spec
class Baseline:
    """What another model reached on the same held-out text.

    Args:
        model: which one, and how it was trained.
        bits_per_byte: by source.
    """

    model: Both
    bits_per_byte: dict[str, float]


@spec
class About:
    """What a person says about a model.

    Args:
        licence: of the weights, as the hub calls it.
        terms: what the model may be used for, and under which terms.
        origin: who wrote the texts that it learned from.
        limits: what to beware of.
    """

    licence: str | None = None
    terms: Both | None = None
    origin: Both | None = None
    limits: Both | None = None
    baseline: Baseline | None = None


@dataclass(frozen=True)
class Facts:
    """What a card tells.

    Args:
        name: the model's.
        run: the run's configuration.
        figures: what `tsumiki evaluate` found.
        about: what a person says; None if nobody does.
    """

    name: str
    records: Records
    run: Mapping[str, Any]
    figures: Mapping[str, Any]
    about: About | None


def release_card(facts: Facts) -> str:
    """The `README.md`."""
    languages = sorted(facts.figures["bits_per_byte"]["languages"])
    header: dict[str, Any] = {"language": languages}
    if facts.about and facts.about.licence:
        header["license"] = facts.about.licence
    header |= {"pipeline_tag": "text-generation", "tags": ["tsumiki"]}
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(header, allow_unicode=True, sort_keys=False)}---\n",
            f"# {facts.name}\n",
            "[日本語](#日本語)\n",
            *_sections(facts, "en"),
            "# 日本語\n",
            *_sections(facts, "ja"),
        ]
    )


def _sections(facts: Facts, language: Language) -> list[str]:
    about, context = facts.about or About(), facts.figures["checkpoint"]["context"]

    def say(english: str, japanese: str) -> str:
        return japanese if language == "ja" else english

    def person(text: Both | None) -> list[str]:
        return [] if text is None else [f"{getattr(text, language).strip()}\n"]

    return [
        say(
            f"A language model of {facts.records.parameters:,} parameters that was trained from nothing with tsumiki. "
            "It continues short stories. It knows nothing, follows no instructions, and must not be relied on for any "
            "fact.\n",
            f"tsumiki で一から学習させた、{facts.records.parameters:,} パラメータの言語モデルです。"
            "短いお話の続きを書きます。知識はなく、指示にも従わず、事実については頼りになりません。\n",
        ),
        *person(about.terms),
        *_usage(facts, say),
        say("## What it learned from\n", "## 何で学習したか\n"),
        *person(about.origin),
        table(
            [
                *(say("source", "データ源"), say("language", "言語"), say("licence", "ライセンス")),
                *(say("share", "割合"), say("documents", "文書数"), say("bytes", "バイト数")),
            ],
            sources(facts.records, say("not stated", "記載なし")),
        ),
        say("## How it was trained\n", "## どう学習したか\n"),
        _recipe(facts, say),
        table(
            [
                *(say("step", "ステップ"), say("training loss", "学習の損失"), say("tokens", "トークン数")),
                *(say("minutes", "分"), say("device", "デバイス")),
            ],
            [training(facts.records)],
        ),
        say("![The loss over the steps](loss.svg)\n", "![ステップごとの損失](loss.svg)\n"),
        say("![Bits per byte over the steps](bits.svg)\n", "![ステップごとのビット／バイト](bits.svg)\n"),
        say("## How good it is\n", "## どのくらいできるか\n"),
        *_evaluation(facts, language, say),
        say("## Texts\n", "## 書いたお話\n"),
        *_samples(facts, say),
        say("## What was verified\n", "## 確かめたこと\n"),
        verified(
            facts.records,
            say(
                "Before training, at length {context}, {dtype}, {device}.",
                "学習の前に、長さ {context}、{dtype}、{device} で確かめました。",
            ),
            say("The doctor was skipped.", "診察は省かれました。"),
            *(say("check", "検査"), say("outcome", "結果")),
        ),
        say("## What to beware of\n", "## 気をつけること\n"),
        say(
            f"Its context is {context} tokens: what lies further back it has forgotten. "
            "What it writes was not filtered, and may be wrong or hurtful, as its texts are what they are.\n",
            f"一度に見えるのは {context} トークンまでで、それより前のことは忘れています。"
            "書くものにフィルターはかけていません。学習した文章がそうであるように、誤りや、人を傷つける表現が出ることがあります。\n",
        ),
        *person(about.limits),
    ]


def _usage(facts: Facts, say: Say) -> list[str]:
    opening = say("Once upon a time", "むかしむかし")
    return [
        code("sh", f'tsumiki generate {facts.name} --prompt "{opening}"'),
        code("python", f'import tsumiki\n\nmodel = tsumiki.load("{facts.name}")\nprint(model.generate("{opening}"))'),
    ]


def _recipe(facts: Facts, say: Say) -> str:
    train, model = facts.run["train"], facts.run["model"]
    shape = f"{model['family']}, {model['num_layers']} × {model['d_model']}"
    batch = f"{train['batch_size']} × {train['seq_len']}"
    optimizer = f"`{train['optimizer']['kind']}`"
    rate, schedule = f"{train['optimizer']['learning_rate']:g}", f"`{train['schedule']['kind']}`"
    return say(
        f"{shape}; {train['steps']:,} steps of {batch} tokens, {optimizer} at a learning rate of {rate}, schedule "
        f"{schedule}, {train['precision']}. "
        "Everything that decides what was computed stands in `run.yaml`, and what it was computed with in "
        "`manifest.json`; with the same texts beside it, `tsumiki train run.yaml` repeats it.\n",
        f"{shape}。{batch} トークンのステップを {train['steps']:,} 回、{optimizer}、学習率 {rate}、"
        f"スケジュール {schedule}、{train['precision']}。"
        "計算の中身を決めるものはすべて `run.yaml` に、使ったものは `manifest.json` にあります。"
        "同じ文章を並べて置けば `tsumiki train run.yaml` でやり直せます。\n",
    )


def _evaluation(facts: Facts, language: Language, say: Say) -> list[str]:
    figures, baseline = facts.figures, facts.about.baseline if facts.about else None
    bits = figures["bits_per_byte"]["sources"]
    headings = [
        *(say("held-out text", "学習に使っていない文章"), say("bits per byte", "ビット／バイト")),
        *(say("bits per character", "ビット／文字"), say("bytes", "バイト数")),
    ]
    rows = [
        [name, f"{row['bits_per_byte']:.3f}", f"{row['bits_per_character']:.3f}", f"{row['bytes']:,}"]
        for name, row in bits.items()
    ]
    if baseline is not None:
        headings.append(say("baseline, bits per byte", "比較対象のビット／バイト"))
        for row in rows:
            value = baseline.bits_per_byte.get(row[0])
            row.append("" if value is None else f"{value:.3f}")
    parts = [
        say(
            "All figures are of the weights as they are in this folder. Compare bits per byte between models, not "
            "between languages.\n",
            "数値はすべて、このフォルダーにある重みそのもののものです。"
            "ビット／バイトは、モデルどうしで比べるもので、言語どうしでは比べられません。\n",
        ),
        table(headings, rows),
    ]
    if baseline is not None:
        model = getattr(baseline.model, language).strip()
        parts.append(say(f"The baseline is {model}.\n", f"比較対象は{model}です。\n"))
    if figures["texts"]:
        parts += _texts(facts, say)
    if "minimal_pairs" in figures:
        parts += [
            say(
                "Minimal pairs, how often the grammatical one of two sentences is the likelier one; half is chance. "
                "`evaluation.json` has them by rule.\n",
                "最小対：2 つの文のうち、文法的に正しいほうをありそうだとした割合。半分なら当てずっぽうです。"
                "規則ごとの数値は `evaluation.json` にあります。\n",
            ),
            table(
                (
                    say("language", "言語"),
                    say("right", "正答"),
                    say("95 % interval", "95 % 区間"),
                    say("pairs", "対の数"),
                ),
                [
                    (name, f"{row['accuracy']:.1%}", f"{row['low']:.1%} – {row['high']:.1%}", f"{row['pairs']:,}")
                    for name, row in figures["minimal_pairs"]["languages"].items()
                ],
            ),
        ]
    return parts


def _texts(facts: Facts, say: Say) -> list[str]:
    settings, texts = facts.figures["settings"], facts.figures["texts"]
    temperature, longest = f"{settings['temperature']:g}", settings["max_tokens"]
    names = {
        **{f"distinct_{n}": f"distinct-{n}" for n in range(1, 5)},
        "repetition_4": say("repeated runs of four, within a text", "文の中の 4 つ組のくり返し"),
        "memorised": say("passages that stand in the training text", "学習文にもある部分"),
        "longest_copied": say(
            "longest span that stands there, words (ja: characters)", "学習文にもある最長の部分、文字（en：語）"
        ),
        "unclosed": say("texts with an unclosed bracket or quote", "かっこの閉じ忘れがある文"),
        "script_mixing": say("letters of another script", "ほかの文字の混入"),
        "ended": say("texts that end by themselves", "自分で終わった文"),
        "invalid_utf8": say("bytes that are no UTF-8", "UTF-8 でないバイト"),
    }
    kinds = {"generated": say("model", "モデル"), "real": say("stories", "実物")}
    headings = [f"{language}, {kind}" for language in texts for kind in kinds.values()]
    rows = [
        (title, *(_figure(metric, texts[language][kind].get(metric)) for language in texts for kind in kinds))
        for metric, title in names.items()
    ]
    number = ", ".join(f"{language} {found['samples']}" for language, found in texts.items())
    return [
        say(
            f"Texts after the openings of held-out stories ({number}), at temperature {temperature}, of at most "
            f"{longest} tokens; beside them, cut to the same length, what the stories really say. Units are words, in "
            "Japanese characters.\n",
            f"学習に使っていないお話の書き出しに続けた文（{number}）。温度 {temperature}、"
            f"長さは {longest} トークンまで。となりは、同じ長さに切った実物です。"
            "単位は、英語は語、日本語は文字です。\n",
        ),
        table([say("metric", "指標"), *headings], rows),
    ]


def _figure(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    if metric.startswith("distinct"):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2%}"


def _samples(facts: Facts, say: Say) -> list[str]:
    """Texts in each language: nobody has chosen them."""
    drawn = {language: samples[:NUM_SAMPLES] for language, samples in facts.figures["samples"].items()}
    lines = [
        f"{one_line(sample['opening'])} >>> {one_line(sample['text'])}\n"
        for samples in drawn.values()
        for sample in samples
    ]
    return [
        say(
            f"After the openings of {NUM_SAMPLES} held-out stories in each language, of those that come with tsumiki, "
            "at temperature 1; neither chosen nor edited. What stands before >>> was given.\n",
            "tsumiki に付属するおはなしのうち、学習に使っていないものの書き出しに続けた文です。"
            f"各言語 {NUM_SAMPLES} つずつ、"
            "温度 1 で、選んだり直したりはしていません。>>> の前が書き出しです。\n",
        ),
        code("text", "\n".join(lines).rstrip("\n")),
    ]
