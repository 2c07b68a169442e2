"""The parts of the report about what was measured after the training, see `tsumiki.compare.measure`."""

from collections.abc import Mapping
from typing import Any

from tsumiki.compare.names import title
from tsumiki.compare.summary import JUDGED
from tsumiki.evaluate.terminal import METRICS, SHARES
from tsumiki.interpret.terminal import TITLES
from tsumiki.report import Curve, Figure, Figures, Map, Paragraph, Section, Table
from tsumiki.report.blocks import Block


def by_position(summary: Mapping[str, Any], ja: bool) -> Section:
    """How each arm predicts at which place of its window."""
    measured = {arm: figures["measured"]["positions"] for arm, figures in summary["arms"].items()}
    figures = [
        Figure(
            f"position-{language}",
            title(f"{JUDGED}.{language}", ja),
            "ウィンドウの中の位置（トークン）" if ja else "position in the window, tokens",
            title(f"{JUDGED}.{language}", ja),
            [
                Curve(
                    arm,
                    [(bucket["start"] + bucket["stop"]) / 2 for bucket in languages[language]],
                    [bucket["bits_per_byte"] for bucket in languages[language]],
                    dots=True,
                )
                for arm, languages in measured.items()
            ],
        )
        for language in next(iter(measured.values()))
    ]
    note = (
        "最初のシードのモデルについて。文脈を使うモデルは、後ろの位置ほど良くなります。後ろの位置にあるのは長い文だけなので、"
        "位置どうしではなく、同じ位置で条件どうしを比べてください。"
        if ja
        else "Of each arm's first seed. A model that uses its context gets better along the window. Late positions are "
        "those of long documents only, so compare arms at a position, not positions with each other."
    )
    if "loss" not in summary["differences"]:
        note += (
            "トークナイザーが異なるので、同じ位置でも、読んだ文の長さは条件によって違います。"
            if ja
            else " The tokenizers differ, so arms have read different amounts of text at the same position."
        )
    return Section("位置ごとの損失" if ja else "Loss by position", [Figures(figures), Paragraph(note)])


def judged(summary: Mapping[str, Any], language: str, ja: bool) -> list[Block]:
    """What is the matter with each arm's texts in a language, beside how the stories really go on."""
    arms = {arm: figures["measured"]["texts"][language] for arm, figures in summary["arms"].items()}
    if None in arms.values():
        why = (
            f"書き出しが文脈の半分に収まるおはなしがない（{language}）ので、文の指標はありません。"
            if ja
            else f"No figures of texts ({language}): no held-out story's opening fits into half of the context."
        )
        return [Paragraph(why)]
    columns = {**{arm: found["generated"] for arm, found in arms.items()}, "real": next(iter(arms.values()))["real"]}
    rows = [
        (names[ja].replace("  ", "… "), *(number(column.get(metric), metric in SHARES) for column in columns.values()))
        for metric, names in METRICS.items()
        if any(metric in column for column in columns.values())
    ]
    (count,) = {found["samples"] for found in arms.values()}
    note = (
        f"検証用のおはなし {count} 編の書き出しに続けた文（{language}、温度 1）と、おはなしの実際の続き："
        if ja
        else f"After the openings of {count} held-out stories ({language}, temperature 1), and how the stories go on:"
    )
    headings = ("", *arms, "実物" if ja else "the stories")
    return [Paragraph(note), Table(headings, rows, numbers=range(1, len(headings)))]


def number(value: float | None, share: bool) -> str:
    """A figure of texts; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.1%}" if share else f"{value:.3g}"


def heads(summary: Mapping[str, Any], ja: bool) -> Section:
    """What each arm's attention heads do."""
    found = {arm: figures["measured"]["attention"] for arm, figures in summary["arms"].items()}
    rows = [
        (TITLES[name][ja], *(f"{attention['highest'][name]:.2f}" for attention in found.values()))
        for name in ("previous", "induction", "first")
    ]
    rows.append(
        (
            "先頭のトークンに頼るヘッド" if ja else "heads that rest on the first token",
            *(f"{attention['sink_share']:.0%}" for attention in found.values()),
        )
    )
    maps = [
        Map(
            f"attention-{arm}",
            f"{arm}, {attention['layer'] + 1}.{attention['head'] + 1}",
            "読まれる位置" if ja else "place that is read",
            "読む位置" if ja else "place that reads",
            places(len(attention["labels"])),
            attention["weights"],
        )
        for arm, attention in found.items()
    ]
    scores = (
        "どれか一つのヘッドの最高値。無作為なトークンの列を二度くり返した文で測ります（最初のシード）。"
        if ja
        else "The highest score of any head, on random tokens that are said twice; of each arm's first seed."
    )
    drawn = (
        "帰納の値が最も高いヘッド（層.ヘッド）が、検証用の書き出しを二度くり返した文を読むところ（「·」は文書の始まり、数字は書き出しの何番目の"
        "トークンか）。前に同じトークンが出たときの"
        "次のトークンを見るヘッドなら、下半分に斜めの線が出ます。"
        if ja
        else "The head with the highest induction score (layer.head) reads a held-out opening that is said twice: · "
        "begins the document, numbers count the opening's tokens. One that looks for what followed the present token "
        "last time shows a diagonal in the lower half."
    )
    return Section(
        "アテンション" if ja else "Attention",
        [
            Paragraph(scores),
            Table(("", *found), rows, numbers=range(1, 1 + len(found))),
            Paragraph(drawn),
            Figures(maps),
        ],
    )


def places(tokens: int) -> list[str]:
    """Names of the places of a text that is said twice: · 1 2 3 1 2 3. The text is somebody's, and not shown."""
    half = [str(number) for number in range(1, (tokens + 1) // 2)]
    return ["·", *half, *half]


def speed(summary: Mapping[str, Any], ja: bool) -> Section:
    """How long a text takes each arm."""
    measured = {arm: figures["measured"]["generation"] for arm, figures in summary["arms"].items()}
    rows = [
        (
            timed[0]["device"],
            f"{timed[0]['tokens']}",
            ("あり" if ja else "with") if timed[0]["cache"] else ("なし" if ja else "without"),
            *(f"{one['seconds']:.2f}" for one in timed),
        )
        for timed in zip(*measured.values(), strict=True)
    ]
    headings = (
        ("デバイス", "トークン", "KV キャッシュ", *measured) if ja else ("device", "tokens", "KV cache", *measured)
    )
    note = (
        "一つの文を書く秒数（最初のシード、fp32、コンパイルなし、学習のあとに二度測った速いほう）。"
        if ja
        else "Seconds for one text, the better of two, in fp32 and uncompiled, after the training of the first seed."
    )
    return Section(
        "書く速さ" if ja else "Writing", [Paragraph(note), Table(headings, rows, numbers=(1, *range(3, len(headings))))]
    )
