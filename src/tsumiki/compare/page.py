"""The report of a comparison. Which arm is better, and whether to believe it, come first."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from tsumiki.compare.names import title
from tsumiki.compare.page_measured import by_position, heads, judged, speed
from tsumiki.compare.runs import Comparison, Trained
from tsumiki.compare.summary import JUDGED
from tsumiki.compare.verdict import headline, interval, outcome, question, reservations, sentences
from tsumiki.config import dump_yaml
from tsumiki.doctor import History
from tsumiki.doctor.messages import Language
from tsumiki.generate import one_line
from tsumiki.models import plan
from tsumiki.report import Banner, Code, Curve, Figure, Figures, Paragraph, Report, Section, Table
from tsumiki.report.blocks import Block
from tsumiki.report.run import examination

Reading = Callable[[Mapping[str, Any]], float]
"""Takes a figure from a line about an evaluation."""


@dataclass(frozen=True)
class Axis:
    """A horizontal axis: its file name, what it is called, and where a step of an arm's run lies on it."""

    name: str
    label: tuple[str, str]
    place: Callable[[Trained, History, int], float]


TOKENS = Axis("tokens", ("tokens", "トークン"), lambda trained, history, step: history.tokens(step))
TIME = Axis("time", ("minutes", "分"), lambda trained, history, step: history.seconds(step) / 60)
STEPS = Axis("steps", ("steps", "ステップ"), lambda trained, history, step: step)
FLOPS = Axis(
    "flops",
    ("training FLOPs", "訓練の FLOPs"),
    lambda trained, history, step: (
        history.tokens(step) * trained.arm.quantities["flops"] / trained.arm.quantities["tokens"]
    ),
)

PARTS = {
    "vocabulary": "語彙",
    "positions": "位置",
    "attention": "アテンション",
    "feed-forward": "フィードフォワード",
    "norms": "正規化",
}
"""The parts of `tsumiki.models.plan`, in Japanese."""


def comparison_report(comparison: Comparison, summary: Mapping[str, Any], language: Language = "en") -> Report:
    """The report, in one language."""
    ja = language == "ja"
    sections = [
        short(summary, language),
        varied(summary, ja),
        held_out(summary, ja),
        curves(comparison, summary, ja),
        by_position(summary, ja),
        texts(comparison, summary, ja),
        heads(summary, ja),
        cost(comparison, summary, ja),
        speed(summary, ja),
        doctor(comparison, language),
        repeat(comparison, ja),
    ]
    return Report(language, f"tsumiki: {comparison.name}", sections)


def short(summary: Mapping[str, Any], language: Language) -> Section:
    """The question, the answer, and how far to believe it."""
    ja = language == "ja"
    told = headline(summary, language)
    blocks: list[Block] = [
        Paragraph(question(summary["experiment"], language)),
        Banner(told.text, told.tone),
        *(Paragraph(sentence.text) for sentence in sentences(summary, language)),
    ]
    reasons = reservations(summary, language)
    heading = "信じてよいか" if ja else "Whether to believe it"
    table = Table((heading,), [(one.text,) for one in reasons], tones=[one.tone for one in reasons])
    return Section("要点" if ja else "In short", [*blocks, table])


def varied(summary: Mapping[str, Any], ja: bool) -> Section:
    """What the arms differ in; by construction that is all."""
    arms = summary["arms"]
    rows = [
        (key, *(json.dumps(value, ensure_ascii=False) for value in values.values()))
        for key, values in summary["varied"].items()
    ]
    seed = str(summary["seeds"][0])
    rows += [
        ("トークナイザー（sha256）" if ja else "tokenizer, sha256", *(arm["tokenizer"][:12] for arm in arms.values())),
        (
            "最初のトークン（sha256）" if ja else "first tokens read, sha256",
            *(arm["order"][seed][:12] for arm in arms.values()),
        ),
    ]
    note = (
        "設定のほかの項目は、シードと試した学習率を除いて、すべて同じです。検証用の文も同じです（確認ずみ）。"
        if ja
        else "All else in the configurations is equal, apart from seeds and tried learning rates, and so is the "
        "held-out text; both were checked."
    )
    return Section("違い" if ja else "What differs", [Table(("設定" if ja else "key", *arms), rows), Paragraph(note)])


def held_out(summary: Mapping[str, Any], ja: bool) -> Section:
    """Every figure of every arm, with the difference from the first."""
    headings = (
        "検証用の文" if ja else "held-out text",
        "条件" if ja else "arm",
        "平均" if ja else "mean",
        "シードによる標準偏差" if ja else "deviation by seed",
        "最初の条件との差" if ja else "against the first",
        "結果" if ja else "",
    )
    rows = []
    for name, arms in summary["figures"].items():
        found = summary["differences"].get(name, {})
        for arm, figures in arms.items():
            against = f"{found[arm]['mean']:+.4f}{interval(found[arm], ja)}" if arm in found else ""
            rows.append(
                (
                    title(name, ja),
                    arm,
                    f"{figures['mean']:.4f}",
                    "-" if figures["deviation"] is None else f"{figures['deviation']:.4f}",
                    against,
                    outcome(found[arm], ja) if arm in found else "",
                )
            )
    note = (
        "どれも少ないほど良い値です。判定は、言語ごとのビット／バイトの平均で行います。ほかの行は判定に使っていません。"
        if ja
        else "Less is better everywhere. The mean of the languages' bits per byte decides; the other rows do not, and "
        "each of them shows a difference by chance as often as its own interval allows."
    )
    return Section("検証用の文" if ja else "Held-out text", [Table(headings, rows, numbers=(2, 3)), Paragraph(note)])


def reading(name: str) -> Reading:
    """How a figure is read from a line about an evaluation."""
    unit, _, language = name.partition(".")
    if language:
        return lambda line: line[unit][language]
    return lambda line: mean(line[unit].values()) if unit == JUDGED else line[unit]


def curves(comparison: Comparison, summary: Mapping[str, Any], ja: bool) -> Section:
    """Every arm over tokens, computation and time: the mean over the seeds, and the band between lowest and highest."""
    over_time = [] if side_by_side(summary) else [TIME]
    drawn = [(JUDGED, axis) for axis in (TOKENS, FLOPS, *over_time)]
    if "loss" in summary["differences"]:
        drawn = [("loss", axis) for axis in (TOKENS, STEPS, *over_time)] + drawn
    drawn += [(name, TOKENS) for name in summary["figures"] if name.startswith(f"{JUDGED}.")]
    figures = [
        Figure(
            f"{name}-{axis.name}",
            title(name, ja),
            axis.label[ja],
            title(name, ja),
            [curve(trained, reading(name), axis) for trained in comparison.arms],
        )
        for name, axis in drawn
    ]
    note = (
        "線はシードの平均、帯は最小から最大まで。学習前の評価は描いていません。"
        if ja
        else "Lines are means over the seeds, bands go from the lowest to the highest. The evaluation before training "
        "is left out."
    )
    if side_by_side(summary):
        note += (
            "複数の学習を同時に走らせ、互いに待ち合ったので、時間に対する曲線はありません。"
            if ja
            else " There are none over time: several runs were trained at once, and waited for each other."
        )
    return Section("学習の経過" if ja else "While training", [Figures(figures), Paragraph(note)])


def side_by_side(summary: Mapping[str, Any]) -> bool:
    """Whether times are not an arm's own, because runs were trained beside each other."""
    return any(arm["side_by_side"] for arm in summary["arms"].values())


def curve(trained: Trained, read: Reading, axis: Axis) -> Curve:
    """One arm's line and band."""
    histories = list(trained.histories.values())
    steps = [line["step"] for line in histories[0].evaluations if line["step"] > 0]
    values = [[read(line) for line in history.evaluations if line["step"] > 0] for history in histories]
    by_step = list(zip(*values, strict=True))
    return Curve(
        trained.arm.name,
        [mean(axis.place(trained, history, step) for history in histories) for step in steps],
        [mean(seeds) for seeds in by_step],
        dots=True,
        band=([min(seeds) for seeds in by_step], [max(seeds) for seeds in by_step]),
    )


def cost(comparison: Comparison, summary: Mapping[str, Any], ja: bool) -> Section:
    """Parameters, memory, computation, time and learning rates."""
    arms = summary["arms"]
    parts = {trained.arm.name: plan(trained.arm.config.model).parameters for trained in comparison.arms}

    def row(english: str, japanese: str, show: Callable[[str, Mapping[str, Any]], str]) -> tuple[str, ...]:
        return (japanese if ja else english, *(show(arm, figures) for arm, figures in arms.items()))

    def megabytes(name: str) -> Callable[[str, Mapping[str, Any]], str]:
        return lambda arm, figures: "-" if figures[name] is None else f"{figures[name] / 1e6:,.2f} MB"

    rows = [
        row("parameters", "パラメータ数", lambda arm, figures: f"{figures['parameters']:,}"),
        row(
            "outside vocabulary and positions",
            "語彙と位置を除く",
            lambda arm, figures: f"{figures['quantities']['non_embedding_params']:,}",
        ),
        *(
            (f"… {PARTS[part] if ja else part}", *(f"{parts[arm].get(part, 0):,}" for arm in arms))
            for part in dict.fromkeys(part for counts in parts.values() for part in counts)
        ),
        row("training tokens", "訓練トークン数", lambda arm, figures: f"{figures['quantities']['tokens']:,}"),
        row("training text", "訓練の文", megabytes("text_bytes")),
        row("training FLOPs", "訓練の FLOPs", lambda arm, figures: f"{figures['quantities']['flops']:.4g}"),
        row("FLOPs a token, writing", "1 トークン書く FLOPs", lambda arm, figures: f"{figures['forward_flops']:,}"),
        row("weights, fp32", "重み（fp32）", megabytes("weight_bytes")),
        row("KV cache of a full context, fp32", "文脈全体の KV キャッシュ（fp32）", megabytes("cache_bytes")),
        row("GPU memory while training", "学習中の GPU メモリ", megabytes("memory_bytes")),
        row(
            "minutes of training a seed, beside others" if side_by_side(summary) else "minutes of training a seed",
            "1 シードの学習（分、同時に複数）" if side_by_side(summary) else "1 シードの学習（分）",
            lambda arm, figures: f"{figures['seconds'] / 60:.2f}",
        ),
    ]
    for rate in next(iter(arms.values()))["tried"]:
        rows.append(
            row(
                f"validation loss at learning rate {rate}",
                f"学習率 {rate} の検証損失",
                lambda arm, figures, rate=rate: tried(figures, rate),
            )
        )
    return Section(
        "大きさと費用" if ja else "Size and cost", [Table(("", *arms), rows, numbers=range(1, 1 + len(arms)))]
    )


def tried(figures: Mapping[str, Any], rate: str) -> str:
    """The loss at a rate, the chosen one marked; a dash where training broke down."""
    loss = figures["tried"][rate]
    chosen = " ←" if f"{figures['learning_rate']:g}" == rate else ""
    return "-" if loss is None else f"{loss:.4f}{chosen}"


def texts(comparison: Comparison, summary: Mapping[str, Any], ja: bool) -> Section:
    """Texts of every arm's first seed, side by side, as they came; and figures of many others."""
    written = [trained.measured["samples"] for trained in comparison.arms]
    blocks: list[Block] = [
        Paragraph(
            "最初のシードのモデルが書いた文です。選ばずに、そのまま載せています。"
            if ja
            else "Texts of each arm's first seed, as they came, none chosen."
        )
    ]
    shared = [samples for samples in zip(*written, strict=False) if len({sample["prompt"] for sample in samples}) == 1]
    names = [trained.arm.name for trained in comparison.arms]
    for prompt in dict.fromkeys(samples[0]["prompt"] for samples in shared):
        rows = [
            (f"{samples[0]['temperature']:g}", *(one_line(sample["text"]) for sample in samples))
            for samples in shared
            if samples[0]["prompt"] == prompt
        ]
        blocks += [Paragraph(f"{one_line(prompt)} …"), Table(("温度" if ja else "temperature", *names), rows)]
    blocks += [
        block
        for language in next(iter(summary["arms"].values()))["measured"]["texts"]
        for block in judged(summary, language, ja)
    ]
    return Section("書いた文" if ja else "Texts", blocks)


def doctor(comparison: Comparison, language: Language) -> Section:
    """Whether each run was verified before it began."""
    ja = language == "ja"
    rows, tones = [], []
    for trained in comparison.arms:
        for seed, history in trained.histories.items():
            found = examination(history, language)
            rows.append((trained.arm.name, str(seed), found.text))
            tones.append("bad" if found.tone == "bad" else "plain")
    headings = ("条件", "シード", "検査") if ja else ("arm", "seed", "examination")
    return Section("ドクター" if ja else "The doctor", [Table(headings, rows, tones=tones)])


def repeat(comparison: Comparison, ja: bool) -> Section:
    """Everything needed to make the comparison again."""
    rows = []
    for trained in comparison.arms:
        for seed, history in trained.histories.items():
            session = history.manifest["sessions"][-1]
            versions = ", ".join(f"{name} {version}" for name, version in session["versions"].items())
            rows.append(
                (
                    trained.arm.name,
                    str(seed),
                    str(history.directory),
                    session["device"],
                    session["git"]["tsumiki"] or "-",
                    versions,
                )
            )
    headings = (
        ("条件", "シード", "実行結果", "デバイス", "git", "バージョン")
        if ja
        else ("arm", "seed", "run", "device", "git", "versions")
    )
    how = (
        f"{comparison.name}.yaml として保存し、`tsumiki compare {comparison.name}.yaml` とすると再現できます。"
        if ja
        else f"Save this as {comparison.name}.yaml; `tsumiki compare {comparison.name}.yaml` makes it again."
    )
    first = (
        f"最初の条件「{comparison.arms[0].arm.name}」の設定のすべて："
        if ja
        else f"The whole configuration of the first arm, '{comparison.arms[0].arm.name}':"
    )
    return Section(
        "再現するには" if ja else "To repeat it",
        [
            Paragraph(how),
            Code(dump_yaml(comparison.experiment)),
            Table(headings, rows),
            Paragraph(first),
            Code(dump_yaml(comparison.arms[0].arm.config)),
        ],
    )
