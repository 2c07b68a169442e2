"""The report of `context_extension.py`, in English and Japanese. Every conclusion follows from the intervals."""

from statistics import mean

from study import Row, Say, about_intervals, by_seed, listed, outcome, repeat, signed, speaker, spread

from tsumiki.doctor.messages import Language
from tsumiki.report import Banner, Figure, Figures, Paragraph, Report, Section, Table

METHODS = {
    "none": ("plain RoPE", "普通の RoPE"),
    "linear": ("position interpolation", "位置補間"),
    "ntk": ("NTK-aware", "NTK-aware"),
    "yarn": ("YaRN", "YaRN"),
}
"""The ways to stretch, with their names in English and Japanese."""

CONTROL = "short"
"""Fine-tuned and read at the trained length."""

NAMES = {**METHODS, CONTROL: ("control", "対照")}

QUESTIONS = {
    "untuned": ("without fine-tuning, against the trained length", "微調整なし、訓練時の長さと比べて"),
    "tuned": ("fine-tuned, against the control", "微調整後、対照と比べて"),
    "price": ("fine-tuned, back at the trained length, against the control", "微調整後、訓練時の長さで、対照と比べて"),
    "yarn_untuned": ("without fine-tuning, YaRN against each of the others", "微調整なし、YaRN をほかの各方法と比べて"),
    "yarn": ("fine-tuned, YaRN against each of the others", "微調整後、YaRN をほかの各方法と比べて"),
    "passkey_trained": (
        "as trained, secrets found, against chance (10 %)",
        "訓練したまま、見つけた合言葉、偶然（10 %）と比べて",
    ),
    "passkey": ("fine-tuned, secrets found, against chance (10 %)", "微調整後、見つけた合言葉、偶然（10 %）と比べて"),
}
"""What `compare` asks, in English and Japanese."""


def report(study: Row, language: Language) -> Report:
    """The report in one language."""
    say = speaker(language)
    sections = [part(study, say) for part in (in_short, figures, differences, all_figures, method)]
    sections.append(repeat("context_extension", study, say))
    return Report(language, say("YaRN as an extension of the context", "YaRN で文脈を延ばす"), sections)


def in_short(study: Row, say: Say) -> Section:
    """What was asked and found."""
    asked = say(
        "Does a model that was trained on {trained} tokens with plain RoPE make use of more, once RoPE is stretched?",
        "普通の RoPE で {trained} トークンまで訓練したモデルは、RoPE を引き伸ばせば、長い文脈を役立てるでしょうか。",
    ).format(**study["settings"])
    groups = dict.fromkeys((row["question"], row["context"]) for row in study["differences"])
    rows = [(say(*QUESTIONS[asked]), str(context), by_outcome(study, asked, context, say)) for asked, context in groups]
    heads = (say("question", "問い"), say("tokens read", "読むトークン"), say("shown", "示されたこと"))
    blocks = [
        Paragraph(asked),
        headline(study, say),
        answer(study, say),
        *secrets(study, say),
        Paragraph(say("All that was asked:", "すべての問い：")),
        Table(heads, rows, numbers=(1,)),
    ]
    return Section(say("In short", "要点"), blocks)


def headline(study: Row, say: Say) -> Banner:
    """Which methods are shown to make use of the longest context, in a sentence."""
    longest = max(row["context"] for row in study["differences"])
    tuned, untuned = (helped(study, question, longest, say) for question in ("tuned", "untuned"))
    text = say(
        f"No method is shown to predict better with {longest} tokens than with {study['settings']['trained']}, with or "
        "without fine-tuning.",
        f"{study['settings']['trained']} トークンより {longest} トークンを読むほうが良いと示された方法は、"
        "微調整をしてもしなくても、ありませんでした。",
    )
    if tuned or untuned:
        text = say(
            f"Shown to predict better with {longest} tokens than with {study['settings']['trained']}: fine-tuned, "
            f"{tuned or 'none'}; without fine-tuning, {untuned or 'none'}.",
            f"{study['settings']['trained']} トークンより {longest} トークンを読むほうが良いと示された方法。"
            f"微調整後：{tuned or 'なし'}。微調整なし：{untuned or 'なし'}。",
        )
    return Banner(text, "good" if tuned else "note")


def answer(study: Row, say: Say) -> Table:
    """Every method at the longest context: what it costs or brings, and the secrets that are found."""
    longest = max(row["context"] for row in study["differences"])
    found = {(row["question"], row["method"]): row for row in study["differences"] if row["context"] == longest}
    rows = [
        (
            say(*name),
            *(f"{signed(row)}: {outcome(row, say)}" for row in (found["untuned", method], found["tuned", method])),
            f"{found['passkey', method]['arm']:.0%}",
        )
        for method, name in METHODS.items()
    ]
    heads = (
        say(f"bits per byte with {longest} tokens", f"{longest} トークンでのビット／バイト"),
        say("without fine-tuning, against the trained length", "微調整なし、訓練時の長さとの差"),
        say("fine-tuned, against the control", "微調整後、対照との差"),
        say("secrets found, fine-tuned", "見つけた合言葉（微調整後）"),
    )
    return Table(heads, rows, numbers=(3,))


def secrets(study: Row, say: Say) -> list[Paragraph]:
    """That secrets tell nothing about the length, where they are not found at the trained one either."""
    (found,) = (row for row in study["differences"] if row["question"] == "passkey_trained")
    if found["shown"] and found["mean"] > 0:
        return []
    return [
        Paragraph(
            say(
                f"The secrets tell nothing about the length: even with {found['context']} tokens, as it was trained, "
                f"the model is not shown to find more than by chance ({found['arm']:.0%}, chance is "
                f"{found['reference']:.0%}). It has not learned to look a word up.",
                f"合言葉からは、長さについて何も分かりません。訓練したままの {found['context']} トークンでも、"
                f"偶然より多く見つけるとは示されないからです（{found['arm']:.0%}、偶然は {found['reference']:.0%}）。"
                "このモデルは、前に出た語を探すことをまだ学んでいません。",
            )
        )
    ]


def helped(study: Row, question: str, context: int, say: Say) -> str:
    """The methods that are shown to be better at a length, as a list; "" for none."""
    found = [row for row in study["differences"] if (row["question"], row["context"]) == (question, context)]
    return listed([say(*METHODS[row["method"]]) for row in found if row["shown"] and row["mean"] < 0], say)


def by_outcome(study: Row, question: str, context: int, say: Say) -> str:
    """The methods by what is shown of them: "better: YaRN; no difference shown: nothing"."""
    groups: dict[str, list[str]] = {}
    for row in study["differences"]:
        if (row["question"], row["context"]) == (question, context):
            result = outcome(row, say, less_is_better=not question.startswith("passkey"))
            groups.setdefault(result, []).append(say(*METHODS[row["method"]]))
    return "; ".join(f"{result}: {listed(names, say)}" for result, names in groups.items())


def figures(study: Row, say: Say) -> Section:
    """Bits per byte and secrets found over the context, with the spread of the seeds."""
    languages = list(dict.fromkeys(row["language"] for row in study["rows"]))
    drawn = [
        draw(study, tuned, language, say)
        for draw in (draw_bits, draw_secrets)
        for tuned in (False, True)
        for language in languages
    ]
    note = say(
        "Lines are means, bands reach from the lowest to the highest seed. The predicted tokens are the same at every "
        "length; only how much stands before them differs. 0 is the same seed's model with its trained context: as it "
        "was trained, or the control.",
        "線は平均、帯は最小から最大のシードまでです。予測するトークンはどの長さでも同じで、前に読む長さだけが違います。"
        "0 は、同じシードのモデルが訓練時の長さで読んだ値（微調整後は対照の値）です。",
    )
    return Section(say("Figures", "図"), [Paragraph(note), Figures(drawn)])


def draw_bits(study: Row, tuned: bool, language: str, say: Say) -> Figure:
    """Bits per byte more than at the trained length, a curve a method."""
    rows = rows_of(study, tuned, language)
    contexts = sorted({row["context"] for row in rows})
    before = by_seed(rows, "bits_per_byte", method=CONTROL if tuned else "none", context=contexts[0])

    def more(method: str, context: int) -> list[float]:
        values = by_seed(rows, "bits_per_byte", method=method, context=context)
        return [value - start for value, start in zip(values, before, strict=True)]

    return Figure(
        name=f"bits-{'tuned' if tuned else 'untuned'}-{language}",
        title=say("bits per byte more than at the trained length", "訓練時の長さからの、ビット／バイトの増減")
        + f", {language}, {told(tuned, say)}",
        x=say("context, tokens", "文脈（トークン）"),
        y=say("bits per byte, less is better", "ビット／バイト（少ないほど良い）"),
        curves=[
            spread(say(*name), contexts, [more(method, context) for context in contexts])
            for method, name in METHODS.items()
        ],
    )


def draw_secrets(study: Row, tuned: bool, language: str, say: Say) -> Figure:
    """The share of secrets that were found, a curve a method."""
    rows = rows_of(study, tuned, language)
    contexts = sorted({row["context"] for row in rows})
    return Figure(
        name=f"secrets-{'tuned' if tuned else 'untuned'}-{language}",
        title=say("secrets found", "見つけた合言葉") + f", {language}, {told(tuned, say)}",
        x=say("context, tokens", "文脈（トークン）"),
        y=say("share; chance is 0.1", "割合（偶然は 0.1）"),
        curves=[
            spread(say(*name), contexts, [by_seed(rows, "passkey", method=method, context=x) for x in contexts])
            for method, name in METHODS.items()
        ],
    )


def rows_of(study: Row, tuned: bool, language: str) -> list[Row]:
    """What was measured of a language, before or after the fine-tuning."""
    return [row for row in study["rows"] if row["tuned"] == tuned and row["language"] == language]


def told(tuned: bool, say: Say) -> str:
    """Before or after the fine-tuning."""
    return say("fine-tuned", "微調整後") if tuned else say("without fine-tuning", "微調整なし")


def differences(study: Row, say: Say) -> Section:
    """Every comparison with its interval."""
    rows = [
        (
            say(*QUESTIONS[row["question"]]),
            say(*METHODS[row["method"]]),
            str(row["context"]),
            signed(row),
            outcome(row, say, less_is_better=not row["question"].startswith("passkey")),
        )
        for row in study["differences"]
    ]
    heads = (
        say("question", "問い"),
        say("method", "方法"),
        say("tokens read", "読むトークン"),
        say("difference", "差"),
        say("shown", "示されたこと"),
    )
    note = say(
        "All but the secrets are in bits per byte, the mean of the languages: less is better.",
        "合言葉のほかはビット／バイト（言語の平均）で、少ないほど良い値です。",
    )
    blocks = [Table(heads, rows, numbers=(2,)), Paragraph(note), Paragraph(about_intervals(study, say))]
    return Section(say("Differences", "差"), blocks)


def all_figures(study: Row, say: Say) -> Section:
    """The means over seeds of everything that was measured."""
    rows, keys = study["rows"], ("tuned", "method", "language", "context")
    lines = []
    for tuned, method, language, context in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        which = {"tuned": tuned, "method": method, "language": language, "context": context}
        bits, found = (mean(by_seed(rows, figure, **which)) for figure in ("bits_per_byte", "passkey"))
        told = say("yes", "あり") if tuned else say("no", "なし")
        lines.append((told, say(*NAMES[method]), language, str(context), f"{bits:.3f}", f"{found:.0%}"))
    heads = [
        say("fine-tuned", "微調整"),
        say("method", "方法"),
        say("language", "言語"),
        say("tokens read", "読むトークン"),
        say("bits per byte", "ビット／バイト"),
        say("secrets found", "合言葉"),
    ]
    return Section(say("All figures", "すべての値"), [Table(heads, lines, numbers=(3, 4, 5))])


def method(study: Row, say: Say) -> Section:
    """How it was done, and what it cannot show."""
    settings, tuning = study["settings"], study["tuning_config"]["train"]
    tokens = tuning["steps"] * tuning["batch_size"] * tuning["seq_len"]
    trained, longest = settings["trained"], tuning["seq_len"]
    said = [
        say(
            f"Training: {settings['tokens']:,} tokens in rows of {trained}. Fine-tuning: {tokens:,} tokens in rows of "
            f"{longest}, with RoPE stretched {longest // trained} times, at {settings['rate']:g} times the learning "
            f"rate. The control reads the same tokens in rows of {trained}. Without fine-tuning, RoPE is stretched as "
            "far as each length needs: twice for twice the length.",
            f"訓練は {trained} トークンの行で {settings['tokens']:,} トークンです。微調整は RoPE を "
            f"{longest // trained} 倍に引き伸ばし、{longest} トークンの行で {tokens:,} トークン、学習率は訓練の "
            f"{settings['rate']:g} 倍です。対照は、同じ文を {trained} トークンの行で読みます。微調整なしでは、"
            "2 倍の長さなら 2 倍と、長さに合わせて引き伸ばします。",
        ),
        say(
            "Long texts are documents laid end to end, each followed by the one most like it (arXiv 2310.10638). They "
            "are not the true continuation of a book, so their far past is worth less than a novel's. The texts of "
            "the fine-tuning are made in the same way out of training text; rows are masked by document as ever.",
            "長い文は、最もよく似た文書が続くように文書をつないだものです（arXiv 2310.10638）。"
            "一冊の本当の続きではないので、遠い過去の価値は長編小説より小さくなります。微調整の文も、訓練用の文から同じように作ります。"
            "文書マスクはふだんどおりです。",
        ),
        say(
            "A secret is a word that one sentence of a text tells and its end asks for; ten words could be it.",
            "合言葉は、文の途中で一度だけ告げられ、終わりで尋ねられる、十語のうちの一語です。",
        ),
        say(
            "The answer holds for this size, these tokens, this text.",
            "答えはこの大きさ、この量、この文についてのものです。",
        ),
    ]
    return Section(say("How it was done", "方法"), list(map(Paragraph, said)))
