"""What a comparison shows, in sentences: which arm is better, and whether to believe it. English and Japanese."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsumiki.compare.summary import JUDGED
from tsumiki.doctor.messages import Language
from tsumiki.report.blocks import Tone

ENOUGH_SEEDS = 3

QUANTITIES = {
    "non_embedding_params": ("non-embedding parameters", "埋め込み以外のパラメータ数"),
    "tokens": ("training tokens", "訓練トークン数"),
    "flops": ("training FLOPs", "訓練の FLOPs"),
}


@dataclass(frozen=True)
class Sentence:
    """Something that a reader must know, and how it is meant."""

    text: str
    tone: Tone


def question(experiment: Mapping[str, Any], language: Language) -> str:
    """What was asked; in English where it is not given in Japanese."""
    return (experiment["question_ja"] if language == "ja" else None) or experiment["question"]


def headline(summary: Mapping[str, Any], language: Language) -> Sentence:
    """The result in a sentence."""
    ja = language == "ja"
    found = summary["differences"][JUDGED]
    first = next(iter(summary["arms"]))
    better = sorted((arm for arm in found if found[arm]["shown"] and found[arm]["mean"] < 0), key=by_mean(found))
    worse = sorted((arm for arm in found if found[arm]["shown"] and found[arm]["mean"] > 0), key=by_mean(found))
    if len(summary["seeds"]) == 1:
        return Sentence(
            "シードが一つだけなので、差が偶然かどうかは分かりません。seeds を三つ以上にしてください。"
            if ja
            else "One seed only: nothing tells a difference from chance. Give three seeds or more.",
            "note",
        )
    if better:
        return Sentence(
            f"{named(better, ja)}は{named([first], ja)}より良い結果でした。"
            if ja
            else f"{named(better, ja)} {'is' if len(better) == 1 else 'are'} better than {named([first], ja)}.",
            "good",
        )
    if worse:
        return Sentence(
            f"{named([first], ja)}は{named(worse, ja)}より良い結果でした。"
            if ja
            else f"{named([first], ja)} is better than {named(worse, ja)}.",
            "good",
        )
    return Sentence(
        "差は示されませんでした。" if ja else f"No difference shown between {named([first, *found], ja)}.", "note"
    )


def by_mean(found: Mapping[str, Mapping[str, Any]]) -> Any:
    """Orders arms, the lowest difference first."""
    return lambda arm: found[arm]["mean"]


def named(arms: list[str], ja: bool) -> str:
    """Arms in quotation marks: 'a', 'b' and 'c'."""
    if ja:
        return "、".join(f"「{arm}」" for arm in arms)
    quoted = [f"'{arm}'" for arm in arms]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}" if len(arms) > 1 else quoted[0]


def sentences(summary: Mapping[str, Any], language: Language) -> list[Sentence]:
    """Each arm against the first, with the figures."""
    ja = language == "ja"
    first = next(iter(summary["arms"]))
    told = []
    for arm, found in summary["differences"][JUDGED].items():
        against = (
            f"「{arm}」と「{first}」の差：{found['mean']:+.4f} ビット／バイト{interval(found, ja)}。"
            if ja
            else f"'{arm}' against '{first}': {found['mean']:+.4f} bits per byte{interval(found, ja)}: "
        )
        told.append(
            Sentence(f"{against}{outcome(found, ja)}{'。' if ja else '.'}", "good" if found["shown"] else "note")
        )
    return told


def interval(found: Mapping[str, Any], ja: bool) -> str:
    """The interval in brackets; nothing where a single seed has none."""
    if found["low"] is None:
        return ""
    bounds = f"{found['low']:+.4f}", f"{found['high']:+.4f}"
    return f"（95 % 区間 {bounds[0]} 〜 {bounds[1]}）" if ja else f" (95 % interval {bounds[0]} to {bounds[1]})"


def outcome(found: Mapping[str, Any], ja: bool) -> str:
    """Better, worse, or no difference shown. Fewer bits are better."""
    if not found["shown"]:
        return "差は示されない" if ja else "no difference shown"
    if found["mean"] < 0:
        return "良い" if ja else "better"
    return "悪い" if ja else "worse"


def reservations(summary: Mapping[str, Any], language: Language) -> list[Sentence]:
    """What speaks for believing the result, and what against it."""
    ja = language == "ja"
    told = [seeds(summary, ja), verified(summary, ja), rates(summary, ja)]
    told += [equality(name, figures, summary, ja) for name, figures in summary["conditions"].items()]
    if "loss" not in summary["differences"]:
        told.append(
            Sentence(
                "トークナイザーが異なるので、損失（nat／トークン）は比べられません。ビット／バイトだけを比べます。"
                if ja
                else "The tokenizers differ, so losses in nats a token cannot be compared; bits per byte can.",
                "note",
            )
        )
    if not summary["varied"]:
        told.append(
            Sentence(
                "条件の設定はすべて同じです（A/A テスト）。"
                if ja
                else "All arms are the same configuration: an A/A test.",
                "note",
            )
        )
    for arm, why in summary["broken"].items():
        told.append(Sentence(f"「{arm}」は除外：{why}" if ja else f"'{arm}' is left out: {why}", "bad"))
    return told


def seeds(summary: Mapping[str, Any], ja: bool) -> Sentence:
    """Whether there are enough of them."""
    count, others = len(summary["seeds"]), len(summary["arms"]) - 1
    if count == 1:
        return Sentence(
            "シードは一つで、区間はありません。" if ja else "One seed an arm: there is no interval.", "note"
        )
    text = (
        f"条件ごとに {count} 個のシード。区間は、同じシードどうしの差の t 区間です。"
        if ja
        else f"{count} seeds an arm; intervals are of the paired differences, by Student's t."
    )
    if others > 1:
        text += (
            f"{others} 個の区間がすべて同時に正しい確率が 95 % です（Bonferroni）。"
            if ja
            else f" All {others} of them hold at once in 95 % of studies (Bonferroni)."
        )
    return Sentence(text, "good" if count >= ENOUGH_SEEDS else "note")


def verified(summary: Mapping[str, Any], ja: bool) -> Sentence:
    """Whether the doctor examined every run."""
    unverified = [arm for arm, figures in summary["arms"].items() if figures["unverified"]]
    if unverified:
        return Sentence(
            f"ドクターの検査を受けていない条件：{named(unverified, ja)}。この比較は信用できません。"
            if ja
            else f"NOT EXAMINED by the doctor: {named(unverified, ja)}. This comparison cannot be trusted.",
            "bad",
        )
    return Sentence(
        "すべての学習が、始める前にドクターの検査に合格しています。"
        if ja
        else "Every run passed the doctor's checks before it began.",
        "good",
    )


def rates(summary: Mapping[str, Any], ja: bool) -> Sentence:
    """Whether each arm had a learning rate that suits it."""
    arms = summary["arms"]
    tried = [float(rate) for rate in next(iter(arms.values()))["tried"]]
    if not tried:
        return Sentence(
            "学習率は条件ごとに調整していません。設定の値に合わない条件は不利です。"
            if ja
            else "Learning rates are as configured, not tuned by arm: one that they suit less is at a disadvantage.",
            "note",
        )
    chosen = ", ".join(f"{arm} {figures['learning_rate']:g}" for arm, figures in arms.items())
    edge = [arm for arm, figures in arms.items() if figures["learning_rate"] in (min(tried), max(tried))]
    text = (
        f"学習率は条件ごとに、最初のシードの検証損失で選びました：{chosen}。"
        if ja
        else f"Each arm has the best of {len(tried)} learning rates, by validation loss on the first seed: {chosen}."
    )
    if not edge:
        return Sentence(text, "good")
    more = (
        f"{named(edge, ja)}では試した範囲の端なので、もっと良い値がありえます。"
        if ja
        else f" For {named(edge, ja)} it is the last one on its side: a better one may lie beyond."
    )
    return Sentence(text + more, "note")


def equality(name: str, figures: Mapping[str, Any], summary: Mapping[str, Any], ja: bool) -> Sentence:
    """How equal the arms are in a quantity."""
    quantity, apart = QUANTITIES[name][ja], figures["apart"]
    if apart == 0:
        return Sentence(f"等しい：{quantity}。" if ja else f"Equal: {quantity}.", "good")
    if figures["allowed"] is not None:
        return Sentence(
            f"{figures['allowed']:.1%} 以内で等しい：{quantity}（差 {apart:.2%}）。"
            if ja
            else f"Equal within {figures['allowed']:.1%}: {quantity} ({apart:.2%} apart).",
            "good",
        )
    told = ", ".join(f"{arm} {shortened(facts['quantities'][name])}" for arm, facts in summary["arms"].items())
    return Sentence(
        f"等しくない：{quantity}（{told}、差 {apart:.2%}）。"
        if ja
        else f"NOT equal: {quantity} ({told}; {apart:.2%} apart).",
        "note",
    )


def shortened(amount: int) -> str:
    """Parameters to the last one, FLOPs with four digits."""
    return f"{amount:,}" if amount < 1e9 else f"{amount:.3e}"
