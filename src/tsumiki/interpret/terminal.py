"""What was found inside a model, on the terminal: tables, in English or Japanese."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tsumiki.doctor.messages import Language
from tsumiki.interpret.findings import Findings
from tsumiki.interpret.trace import Trace

TITLES = {
    "previous": ("previous token", "直前のトークン"),
    "induction": ("induction", "帰納"),
    "first": ("first token (sink)", "先頭のトークン（シンク）"),
    "sink": ("learned sink", "学習されたシンク"),
    "gate": ("mean gate", "ゲートの平均"),
    "shut": ("gates shut", "閉じたゲート"),
}
SHOWN = 3
"""Large activations that are printed."""


def render(trace: Trace, findings: Findings, console: Console, language: Language) -> None:
    """Print the heads' scores, what the model would say next after each block, and the largest numbers."""
    ja = language == "ja"
    heads = _table("層.ヘッド" if ja else "Layer.head")
    for name in findings.scores:
        heads.add_column(TITLES[name][ja], justify="right")
    num_layers, num_heads = trace.attention.shape[:2]
    for layer in range(num_layers):
        for head in range(num_heads):
            row = (f"{scores[layer][head]:.2f}" for scores in findings.scores.values())
            heads.add_row(f"{layer + 1}.{head + 1}", *row)
    console.print(heads)
    share = f"{findings.sink_share:.0%}"
    console.print(f"先頭のトークンに頼るヘッド：{share}" if ja else f"Heads that rest on the first token: {share}")
    console.print()
    if findings.experts is not None:
        experts = _table("層" if ja else "Layer")
        experts.add_column("各専門家の割合" if ja else "Share of each expert")
        for layer, shares in enumerate(findings.experts, start=1):
            experts.add_row(str(layer), " ".join(f"{share:.0%}" for share in shares))
        console.print(experts)
        console.print()
    lens = _table("ブロック" if ja else "After block")
    lens.add_column(f"「{trace.labels[-1]}」の次" if ja else f"After “{trace.labels[-1]}”")
    for place, tokens in enumerate(findings.lens):
        lens.add_row(str(place), "  ".join(f"{guess.label} {guess.probability:.0%}" for guess in tokens[-1]))
    console.print(lens)
    console.print()
    for found in findings.largest[:SHOWN]:
        label, value, times = trace.labels[found.token], f"{found.value:.1f}", f"{found.times_median:.0f}"
        console.print(
            f"ブロック {found.place} のあと、「{label}」の {found.width} 番：{value}（中央値の {times} 倍）"
            if ja
            else f"After block {found.place}, at “{label}”, number {found.width}: {value}, {times} times the median"
        )
    console.print()


def render_checkpoints(scores: Mapping[int, Mapping[str, float]], console: Console, language: Language) -> None:
    """Print the highest scores of each step."""
    ja = language == "ja"
    table = _table("ステップ" if ja else "Step")
    for name in next(iter(scores.values())):
        table.add_column(TITLES[name][ja], justify="right")
    for step, row in scores.items():
        table.add_row(str(step), *(f"{value:.3f}" for value in row.values()))
    console.print("どれか一つのヘッドの最高値" if ja else "The highest score of any head")
    console.print(table)


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    return table
