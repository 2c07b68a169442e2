"""Lesson 1: the linear layer. A weighted sum, its gradient, and the smallest thing that learns.

Run it with `python lessons/01_linear.py`, or cell by cell in an editor that knows `# %%`.
"""

import torch

from tsumiki.nn import Linear, gelu

torch.manual_seed(0)

# %% A weighted sum
# Every output is a weighted sum of all inputs: y = x Wᵀ + b. Row i of W holds the weights of output i.
# 線形層の出力は、すべての入力の重み付き和です。W の i 行目が、i 番目の出力の重みです。
layer = Linear(3, 2, bias=True)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]))
    layer.bias.copy_(torch.tensor([10.0, 20.0]))
x = torch.tensor([1.0, 0.5, -1.0])
print("by hand:  1·1 + 2·0.5 + 3·(-1) + 10 =", 1 * 1 + 2 * 0.5 + 3 * -1 + 10)
print("the layer:", layer(x).tolist())
assert layer(x).tolist() == [9.0, 18.5]

# %% The gradient
# How much does the output change if a weight changes a little? By the input that the weight stands beside.
# 重みを少し動かすと、出力は「その重みに掛かる入力」の分だけ動きます。これが勾配です。
layer(x).sum().backward()
print("\ngradient of Σ y with respect to W:", layer.weight.grad.tolist())
nudged = layer.weight.detach().clone()
nudged[0, 2] += 0.001
moved = (nudged @ x - layer.weight.detach() @ x).sum() / 0.001
print(f"nudging W[0, 2] by 0.001 says:     {moved:.3f}")
assert torch.allclose(layer.weight.grad, x.expand(2, 3))

# %% Learning
# Step against the gradient of an error, again and again. The layer finds the rule behind the numbers: y = 2a - 3b + 1.
# 誤差の勾配と逆の向きに少しずつ動かすと、数字の裏にある規則が見つかります。
inputs = torch.randn(100, 2)
targets = inputs @ torch.tensor([2.0, -3.0]) + 1
learner = Linear(2, 1, bias=True)
print("\nstep   error     weights         bias")
for step in range(61):
    error = (learner(inputs).squeeze(1) - targets).square().mean()
    if step % 15 == 0:
        a, b = learner.weight[0].tolist()
        print(f"{step:4}   {error:8.5f}  {a:6.3f} {b:6.3f}  {learner.bias.item():6.3f}")
    learner.zero_grad()
    error.backward()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter -= 0.1 * parameter.grad
assert torch.allclose(learner.weight, torch.tensor([[2.0, -3.0]]), atol=0.01)

# %% Why a network needs a bend
# Two linear layers in a row are one linear layer, W₂ W₁. Only a bend between them makes the pair worth more than one.
# 線形層を二つ重ねても、一つの線形層と同じです。間に「曲げる」関数があって初めて、重ねる意味が生まれます。
first, second = Linear(3, 8), Linear(8, 2)
merged = second.weight @ first.weight
print("\nwithout a bend, two layers are one:", torch.allclose(second(first(x)), merged @ x, atol=1e-6))
print("with gelu between, they are not:  ", not torch.allclose(second(gelu(first(x))), merged @ x, atol=1e-6))
assert torch.allclose(second(first(x)), merged @ x, atol=1e-6)
