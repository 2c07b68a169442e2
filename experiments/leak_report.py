"""The report of `leak.py`, in English and Japanese. Every conclusion follows from the intervals."""

from statistics import mean

from study import Row, Say, about_intervals, outcome, repeat, signed, speaker, spread

from tsumiki.doctor.messages import Language
from tsumiki.generate import one_line
from tsumiki.report import Banner, Figure, Figures, Paragraph, Report, Section, Table

ARMS = {"sound": ("right mask", "正しいマスク"), "leaking": ("no mask", "マスクなし")}
"""The two models, with their names in English and Japanese."""

FIGURES = {
    "shown": ("bits per byte, as training shows it", "ビット／バイト：学習が示す値"),
    "masked": ("bits per byte, the same weights under a right mask", "ビット／バイト：同じ重みに正しいマスク"),
    "written": ("bits per byte, as in writing: nothing follows", "ビット／バイト：文を書くとき（後ろに何もない）"),
    "repetition_0": ("repeated 4-grams at temperature 0", "温度 0 の文で繰り返される 4-gram"),
    "repetition_1": ("repeated 4-grams at temperature 1", "温度 1 の文で繰り返される 4-gram"),
    "mixing_0": ("letters of another script at temperature 0", "温度 0 の文の、ほかの文字体系の文字"),
    "mixing_1": ("letters of another script at temperature 1", "温度 1 の文の、ほかの文字体系の文字"),
}
"""What is measured of both; less is better everywhere."""


def report(study: Row, language: Language) -> Report:
    """The report in one language."""
    say = speaker(language)
    sections = [
        in_short(study, say),
        curves(study, say),
        differences(study, say),
        texts(study, say),
        doctor(study, language, say),
        method(study, say),
        repeat("leak", study, say),
    ]
    return Report(language, say("The leak: a model without its mask", "漏れ：マスクのないモデル"), sections)


def in_short(study: Row, say: Say) -> Section:
    """What was asked and found."""
    found = {row["figure"]: row for row in study["differences"]}
    asked = say(
        "The article's authors forgot the causal mask. What did their loss say, and what was the model worth?",
        "記事の著者たちは因果マスクを忘れました。損失は何を示し、モデルの本当の値打ちは何だったのでしょうか。",
    )
    fooled = found["shown"]["shown"] and found["shown"]["mean"] < 0
    worse = found["written"]["shown"] and found["written"]["mean"] > 0
    verdict = say(
        f"Without the mask, the loss {'looks better' if fooled else 'is not shown to look better'} "
        f"({told(found['shown'])} bits per byte), and the model "
        f"{'predicts worse' if worse else 'is not shown to predict worse'} when it writes ({told(found['written'])}).",
        f"マスクがないと、損失は{'良く見え' if fooled else '良く見えるとは示されず'}"
        f"（ビット／バイトで {told(found['shown'])}）、"
        f"文を書くときの予測は{'悪くなります' if worse else '悪くなるとは示されませんでした'}"
        f"（{told(found['written'])}）。",
    )
    rows = [
        (say(*FIGURES[name]), f"{row['reference']:.3f}", f"{row['arm']:.3f}", signed(row), outcome(row, say))
        for name, row in found.items()
    ]
    heads = (
        say("mean", "平均"),
        *(say(*name) for name in ARMS.values()),
        say("difference", "差"),
        say("without the mask", "マスクがないと"),
    )
    blocks = [
        Paragraph(asked),
        Banner(verdict, "bad" if fooled and worse else "note"),
        Table(heads, [*rows, passed(study, say), alarms(study, say)], numbers=(1, 2)),
    ]
    return Section(say("In short", "要点"), blocks)


def told(row: Row) -> str:
    """What the right mask has and what goes without it: "1.334 → 0.003"."""
    return f"{row['reference']:.3f} → {row['arm']:.3f}"


def passed(study: Row, say: Say) -> tuple[str, ...]:
    """Whether the doctor lets the two be trained."""
    verdicts = (say("yes", "はい") if study["doctor"][arm]["ok"] else say("no", "いいえ") for arm in ARMS)
    return (say("passes the doctor, before training", "学習前、ドクターの検査に合格"), *verdicts, "", "")


def alarms(study: Row, say: Say) -> tuple[str, ...]:
    """How often the alarm is raised after training."""
    raised = {arm: [row["alarm"] for row in study["rows"] if row["arm"] == arm] for arm in ARMS}
    counts = (f"{sum(found)} / {len(found)}" for found in raised.values())
    return (say("alarms after training: predicted too well", "学習後の警報：予測が良すぎる"), *counts, "", "")


def curves(study: Row, say: Say) -> Section:
    """The losses as a person sees them during training."""
    drawn = []
    for arm, name in ARMS.items():
        rows = [row for row in study["curves"] if row["arm"] == arm]
        tokens = sorted({row["tokens"] for row in rows})
        values = [[row["loss"] for row in rows if row["tokens"] == place] for place in tokens]
        drawn.append(spread(say(*name), tokens, values))
    figure = Figure(
        name="leak-loss",
        title=say("Training loss, as it is shown", "学習時に表示される損失"),
        x=say("tokens", "トークン"),
        y=say("nats a token", "nat／トークン"),
        curves=drawn,
    )
    return Section(say("What one sees", "見えるもの"), [Figures([figure])])


def differences(study: Row, say: Say) -> Section:
    """Every figure by language, and the difference with its interval."""
    languages = list(dict.fromkeys(row["language"] for row in study["rows"]))
    lines = []
    for row in study["differences"]:
        by_language = [
            mean(one[row["figure"]] for one in study["rows"] if (one["arm"], one["language"]) == (arm, language))
            for language in languages
            for arm in ARMS
        ]
        lines.append(
            (say(*FIGURES[row["figure"]]), *(f"{value:.3f}" for value in by_language), signed(row), outcome(row, say))
        )
    heads = [
        "",
        *(f"{language}, {say(*name)}" for language in languages for name in ARMS.values()),
        say("difference", "差"),
        say("without the mask", "マスクがないと"),
    ]
    table = Table(heads, lines, numbers=range(1, 1 + 2 * len(languages)))
    return Section(say("Figures", "数値"), [table, Paragraph(about_intervals(study, say))])


def texts(study: Row, say: Say) -> Section:
    """What both write after the article's prompts."""
    blocks = []
    for prompt in dict.fromkeys(row["prompt"] for row in study["texts"]):
        rows = [
            (say(*ARMS[row["arm"]]), str(row["temperature"]), one_line(row["text"]))
            for row in study["texts"]
            if row["prompt"] == prompt
        ]
        blocks += [
            Paragraph(f"{prompt} …"),
            Table((say("model", "モデル"), say("temperature", "温度"), say("text", "文")), rows),
        ]
    return Section(say("What they write", "書いた文"), blocks)


def doctor(study: Row, language: Language, say: Say) -> Section:
    """What the doctor says of the two before they are trained."""
    rows = [
        (say(*ARMS[arm]), failure[language])
        for arm, found in study["doctor"].items()
        for failure in found["failures"] or [{language: say("All checks passed.", "すべての検査に合格。")}]
    ]
    return Section(
        say("What the doctor says", "ドクターの診断"), [Table((say("model", "モデル"), say("says", "診断")), rows)]
    )


def method(study: Row, say: Say) -> Section:
    """How it was done."""
    given = study["settings"]
    said = [
        say(
            f"Each model was trained on {given['tokens']:,} tokens. "
            "Both are the same in everything but the mask: weights at the start, text and its order. Without it "
            "each token sees all of its document. As the authors did, a text is written by reading all of it at each "
            'token and letting its last position predict; bits per byte "as in writing" are measured in the same way, '
            f"a token at a time, with {given['read']} tokens before it. Only at the ends of rows and documents did the "
            "model without a mask have anything to predict, and at a document's end that is its end: everywhere else "
            "the answer stood in front of it. The end of text is never written, so that texts have one length.",
            f"どのモデルも {given['tokens']:,} トークンで訓練しました。"
            "二つのモデルは、初めの重みも、文とその順番も、マスクのほかはすべて同じです。マスクがないと、"
            "どのトークンにも同じ文書のすべてが見えます。文は著者たちと同じように、一トークンごとに全体を読み、"
            "最後の位置で予測して書きます。「文を書くとき」のビット／バイトも、"
            f"前に {given['read']} トークンを置いて、一トークンずつ同じように測ります。"
            "マスクのないモデルが予測を学べたのは、行の終わりと文書の終わり（答えは「終わり」）だけです。"
            "ほかの位置では答えが見えています。"
            "文の長さをそろえるため、文書の終わりは書かせません。",
        ),
        say("The answer holds for this size, these tokens, this text.", "この大きさ、この量、この文での答えです。"),
    ]
    return Section(say("How it was done", "方法"), list(map(Paragraph, said)))
