"""Lesson 7: gated attention. A variant is a small difference: one projection, one sigmoid, one product.

Run it with `python lessons/07_gated_attention.py`. The paper is arXiv 2505.06708.
"""

import torch

from tsumiki.nn.attention import AttentionContext, Eager, GatedAttention, GroupedQueryAttention

D_MODEL, T = 64, 10
HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16}
SIZES = {"d_model": D_MODEL, "window": None, "std": 0.02, "residual_std": 0.02}
torch.manual_seed(0)
x = torch.randn(1, T, D_MODEL)
context = AttentionContext(torch.arange(T)[None], documents=None, rotation=None, backend=Eager(), aligned=True)

# %% The difference
# Grouped-query attention:  o_proj(heads(x))       Gated:  o_proj(heads(x) * sigmoid(gate_proj(x)))
# ゲート付きアテンションは、各ヘッドの出力に 0〜1 のゲートを掛けるだけです。
plain = GroupedQueryAttention(GroupedQueryAttention.Config(**HEADS), **SIZES)
gated = GatedAttention(GatedAttention.Config(**HEADS), **SIZES)
gated.load_state_dict(plain.state_dict(), strict=False)  # the same projections, and a gate besides
added = sorted(set(gated.state_dict()) - set(plain.state_dict()))
print("parameters that the gate adds:", {name: tuple(gated.state_dict()[name].shape) for name in added})

# %% It begins at half strength
# Small weights give scores near 0, and sigmoid(0) = 1/2: at the start every head is turned down to about half.
# 学習前のゲートはほぼ 1/2 なので、アテンションは半分の強さから始まります。
with torch.no_grad():
    gate = gated.gate(x)
    print(f"\na new gate lies between {gate.min():.2f} and {gate.max():.2f}")
    ratio = gated(x, context).norm() / plain(x, context).norm()
    print(f"gated output / plain output: {ratio:.2f}")
assert 0.4 < ratio < 0.6

# %% Open and shut
# The gate depends on the token, so a head may speak at one word and be silent at the next. Without a gate its weights
# add up to 1: a head with nothing to say must attend to something, often to the first word (an attention sink).
# ゲートは語ごとに変わるので、言うことのないヘッドは黙れます。ゲートがないと、重みの合計は必ず 1 です。
with torch.no_grad():
    gated.gate_proj.weight.zero_()
    shut, opened = gated.gate_proj.weight.view(4, 16, D_MODEL)[0], gated.gate_proj.weight.view(4, 16, D_MODEL)[1]
    direction = x[0, 3] / x[0, 3].norm()
    shut.copy_(-direction.expand(16, -1))  # head 0 falls silent where the stream looks like word 3
    opened.copy_(direction.expand(16, -1))  # head 1 opens there
    gate = gated.gate(x)[0].mean(dim=-1)
print("\nword   head 0   head 1   head 2   head 3")
for word in (2, 3, 4):
    print(f"{word:4}" + "".join(f"{value:9.2f}" for value in gate[word].tolist()))
assert gate[3, 0] < 0.01
assert gate[3, 1] > 0.99

# %% Four ways to gate
# A gate for each number or for each head; computed from the token, or a learned constant (the paper's ablation).
# 値ごとかヘッドごとか、入力から計算するか固定の学習値か。四通りを設定一つで選べます。
print("\ngate          depends on   parameters added")
base = sum(parameter.numel() for parameter in plain.parameters())
for shape in ("elementwise", "headwise"):
    for gate_input in ("query", "none"):
        variant = GatedAttention(GatedAttention.Config(**HEADS, gate=shape, gate_input=gate_input), **SIZES)
        extra = sum(parameter.numel() for parameter in variant.parameters()) - base
        print(f"{shape:13} {gate_input:12} {extra:8,}  ({extra / base:.1%})")

# %% Still causal
# A gate reads its own word only, so it opens no way to the future. Lesson 8 shows what happens when there is one.
# ゲートは自分の語だけを見るので、未来への抜け道にはなりません。
changed = x.clone()
changed[:, 6:] = torch.randn(T - 6, D_MODEL)
with torch.no_grad():
    difference = (gated(x, context) - gated(changed, context)).abs()[0].amax(dim=-1)
print("\nwords 6 to 9 rewritten; change of the output at each word:", [f"{d:.0e}" for d in difference.tolist()])
assert difference[:6].max() == 0
