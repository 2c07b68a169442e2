"""What the doctor says, in English and Japanese: what is wrong, where, and what usually causes it."""

import locale
import os
from typing import Any, Literal

from tsumiki.doctor.verdict import Verdict

Language = Literal["en", "ja"]

TITLES = {
    "determinism": ("The same tokens give the same logits", "同じトークンからは同じロジット"),
    "causality": ("The future is not seen", "未来は見えない"),
    "causality_everywhere": ("The future is not seen, at every position", "どの位置でも未来は見えない"),
    "causality_gradient": ("No gradient comes from the future", "未来からの勾配はない"),
    "past_is_used": ("The past is used", "過去を使っている"),
    "length_independence": ("The length of the text does not matter", "文の長さに左右されない"),
    "cache": ("With the KV cache as without", "KV キャッシュの有無で変わらない"),
    "documents": ("Packed documents do not meet", "詰め合わせた文書は混ざらない"),
    "batch": ("Rows of a batch do not meet", "バッチの行は混ざらない"),
    "padding": ("Padding changes nothing", "パディングは影響しない"),
    "loss": ("The loss is that of the next tokens", "損失は次のトークンのもの"),
    "accumulation": ("1 x 16 = 4 x 4 = 16 x 1", "1 x 16 = 4 x 4 = 16 x 1"),
    "resume": ("2 + 2 steps = 4 steps", "2 + 2 ステップ = 4 ステップ"),
    "backends": ("All backends agree", "どのバックエンドも一致する"),
    "reference": ("As the independent reference says", "独立した参照実装と一致する"),
    "noise_floor": ("Noise cannot be predicted", "でたらめは予測できない"),
    "initial_loss": ("The loss starts at ln V", "損失は ln V から始まる"),
    "gradient_reach": ("Every parameter gets a gradient", "全パラメータに勾配が届く"),
    "gradient_is_derivative": ("The gradient is the derivative", "勾配は微分と一致する"),
    "overfit_one_batch": ("One batch can be learnt", "一つのバッチを覚えられる"),
    "update_size": ("The optimizer's steps have a sound size", "更新の大きさは適切"),
    "round_trip": ("Texts survive the tokenizer", "文はトークナイザーを往復できる"),
    "byte_accounting": ("No byte is lost or counted twice", "バイト数の勘定が合う"),
    "targets": ("Targets are the next tokens", "正解は次のトークン"),
    "held_out": ("The validation text is not the training text", "検証用の文は訓練用と重ならない"),
    "examined": ("The model was examined before training", "学習前に検査されている"),
    "finite": ("No loss was infinite", "損失は有限"),
    "above_floor": ("Nothing is predicted too well", "予測がうますぎない"),
    "normal": ("As runs of this size on so many tokens", "同じ規模・同じトークン数の学習と同程度"),
    "learning": ("More is learnt than how frequent tokens are", "トークンの頻度以上のことを学んでいる"),
    "stable": ("The loss falls and does not jump", "損失は下がり、跳ねない"),
    "held_out_is_held_out": ("Held-out text was not trained on", "検証用の文で訓練していない"),
    "evaluated_is_trained": ("What is evaluated is what is trained", "評価しているのは学習中のモデル"),
    "overfitting": ("The last evaluation is about the best", "最後の評価がほぼ最良"),
    "balance": ("No language is behind", "遅れている言語はない"),
    "throughput": ("The training does not become slower", "学習は遅くならない"),
    "gradient": ("The gradient does not vanish", "勾配は消えない"),
}
"""What a check stands for, as a row of the table."""

SENTENCES = {
    "passed": ("Nothing was found.", "問題は見つかりませんでした。"),
    "not_deterministic": (
        "The same tokens gave different logits in evaluation mode (by {change:.0e} of the largest). "
        "Usual cause: dropout that stays on, because it does not ask `self.training`.",
        "評価モードなのに、同じトークンから異なるロジットが出ました（最大ロジットの {change:.0e}）。"
        "よくある原因：`self.training` を見ずに働き続けるドロップアウト。",
    ),
    "future_seen": (
        "The model sees the future: rewriting only the tokens after position {cut} moved the logits at {positions} "
        "by up to {change:.0e} of the largest{where}. "
        "Usual cause: a causal mask that is missing, transposed or shifted by one, or a norm or mean over time.",
        "未来が見えています：位置 {cut} より後のトークンだけを書き換えたのに、{positions} のロジットが動きました"
        "（最大ロジットの {change:.0e}{where}）。"
        "よくある原因：因果マスクの欠落・転置・一つずれ、時間方向の正規化や平均。",
    ),
    "future_seen_in_training": (
        "In training mode the model sees the future, though not in evaluation mode: rewriting only the tokens after "
        "position {cut} moved the logits at {positions} by up to {change:.0e} of the largest{where}. "
        "Usual cause: a mask that depends on `self.training`, or another attention kernel while training.",
        "評価モードでは正しいのに、訓練モードでは未来が見えています：位置 {cut} より後のトークンだけを書き換えたのに、"
        "{positions} のロジットが動きました（最大ロジットの {change:.0e}{where}）。"
        "よくある原因：`self.training` に依存するマスク、訓練時だけ異なるアテンションカーネル。",
    ),
    "gradient_from_future": (
        "The model sees the future: the logits at position {position} have a gradient with respect to the token at "
        "position {source} ({share:.0e} of the largest). "
        "Usual cause: a causal mask that is missing, shifted by one, or a large negative number in place of -inf.",
        "未来が見えています：位置 {position} のロジットが、位置 {source} のトークンに関する勾配を持っています"
        "（最大の {share:.0e}）。よくある原因：因果マスクの欠落・一つずれ、-inf の代わりの不十分な負の数。",
    ),
    "past_ignored": (
        "The model ignores the past: rewriting every token but the last left the last position's logits as they were. "
        "Usual cause: an inverted mask, or an attention whose result is not added to the stream.",
        "過去を見ていません：最後以外のトークンをすべて書き換えても、最後の位置のロジットが変わりません。"
        "よくある原因：反転したマスク、残差に足されていないアテンションの出力。",
    ),
    "previous_token_ignored": (
        "The model ignores the previous token: rewriting it left the last position's logits as they were. "
        "Usual cause: a mask shifted by one, or a window that ends before the query.",
        "直前のトークンを見ていません：書き換えても、最後の位置のロジットが変わりません。"
        "よくある原因：一つずれたマスク、直前を含まない窓。",
    ),
    "length_matters": (
        "The logits at position {position} depend on how long the text is: cut after {cut} of {length} tokens it gives "
        "others (by {change:.0e} of the largest{where}). Usual cause: a mean, norm or scale over the row's length, "
        "or positions counted from its end.",
        "位置 {position} のロジットが文の長さで変わります：{length} トークンのうち {cut} で切ると異なる値になります"
        "（最大ロジットの {change:.0e}{where}）。"
        "よくある原因：行の長さに関する平均・正規化・尺度、末尾から数えた位置。",
    ),
    "cache_differs": (
        "With the KV cache the logits differ from position {position} on (chunks {chunks}; by up to {change:.0e} of "
        "the largest{where}). Usual cause: positions that restart with every chunk, a mask for the wrong number of "
        "keys, or a window that forgets one token too many.",
        "KV キャッシュを使うと、位置 {position} からロジットが変わります（チャンク {chunks}、最大ロジットの"
        " {change:.0e}{where}）。"
        "よくある原因：チャンクごとに 0 へ戻る位置、キーの数に合わないマスク、一つ余計に忘れる窓。",
    ),
    "documents_meet": (
        "Packed documents meet: in a row of documents of {lengths} tokens, number {document} has other logits than "
        "alone, from its position {position} on (by up to {change:.0e} of the largest). "
        "Usual cause: a mask that does not compare document ids, or positions that do not restart.",
        "詰め合わせた文書が混ざっています：長さ {lengths} の文書の行で、{document} 番の文書のロジットが、単独のときと"
        "位置 {position} から異なります（最大ロジットの {change:.0e}）。"
        "よくある原因：文書番号を比べないマスク、文書ごとに 0 へ戻らない位置。",
    ),
    "rows_meet": (
        "Rows of a batch meet: row {row} has other logits than alone, from position {position} on (by up to "
        "{change:.0e} of the largest). Usual cause: a norm over the batch, or a reshape that mixes batch and time.",
        "バッチの行が混ざっています：{row} 行目のロジットが、単独のときと位置 {position} から異なります"
        "（最大ロジットの {change:.0e}）。よくある原因：バッチ方向の正規化、バッチと時間を混ぜる reshape。",
    ),
    "padding_matters": (
        "Padding on the {side} changes the logits of row {row}'s real tokens (by up to {change:.0e} of the largest). "
        "Usual cause: padding that is attended to, or counted as a position.",
        "パディング（{side}）が、{row} 行目の本物のトークンのロジットを変えます（最大ロジットの {change:.0e}）。"
        "よくある原因：パディングへのアテンション、位置に数えられたパディング。",
    ),
    "wrong_loss": (
        "The loss is not the sum of -log p(next token): {loss:.4f} over {count} targets, where the logits give "
        "{expected:.4f} over {targets}. Usual cause: labels shifted once too often or not at all, a mean in place of a "
        "sum, or padding that counts.",
        "損失が -log p(次のトークン) の和になっていません：{count} 個の正解で {loss:.4f} ですが、ロジットからは"
        " {targets} 個で {expected:.4f} です。"
        "よくある原因：ずらし忘れたか二重にずらしたラベル、和の代わりの平均、数えられたパディング。",
    ),
    "accumulation_differs": (
        "Sixteen rows give another gradient in batches of {size} than in one (`{parameter}` by {change:.0e}). "
        "Usual cause: a loss that is averaged within a micro-batch, so that short rows weigh too much.",
        "16 行の勾配が、{size} 行ずつと一度とで異なります（`{parameter}` で {change:.0e}）。"
        "よくある原因：マイクロバッチ内で平均した損失（短い行が重くなります）。",
    ),
    "resume_differs": (
        "A training that is resumed is another one: after 2 + 2 steps `{parameter}` differs from that after 4 (by "
        "{change:.0e}). Usual cause: the optimizer's moments, the step or the order of the data is not saved.",
        "再開した訓練が一致しません：2 + 2 ステップ後の `{parameter}` が 4 ステップ後と異なります（{change:.0e}）。"
        "よくある原因：保存されていないオプティマイザーの状態、ステップ数、データの順序。",
    ),
    "backend_differs": (
        "The backend `{backend}` gives other logits from position {position} on (by up to {change:.0e} of the "
        "largest). Usual cause: a fused kernel with another mask, scale or sink than the specification.",
        "バックエンド `{backend}` のロジットが位置 {position} から異なります（最大ロジットの {change:.0e}）。"
        "よくある原因：仕様と異なるマスク・尺度・シンクを渡された融合カーネル。",
    ),
    "backend_gradient_differs": (
        "The backend `{backend}` gives the same logits and another gradient (`{parameter}` by {change:.0e}). "
        "Usual cause: a wrong backward pass.",
        "バックエンド `{backend}` はロジットが同じでも勾配が異なります（`{parameter}` で {change:.0e}）。"
        "よくある原因：誤った逆伝播。",
    ),
    "reference_differs": (
        "The logits are not those of the independent reference, from position {position} on (by up to {change:.0e} of "
        "the largest{where}). Usual cause: a formula in that part that differs from the paper's: a scale, an axis, the "
        "order of heads, a norm.",
        "ロジットが独立した参照実装と位置 {position} から異なります（最大ロジットの {change:.0e}{where}）。"
        "よくある原因：論文と異なる式（尺度、軸、ヘッドの順序、正規化）。",
    ),
    "below_noise_floor": (
        "Trained on random tokens the loss fell to {loss:.3f} nats after {step} steps, below the {floor:.3f} that is "
        "possible. The model is given its targets. "
        "Usual cause: a mask that shows the future, or targets that are not shifted.",
        "でたらめなトークンで訓練すると、{step} ステップで損失が {loss:.3f} nat（下限は {floor:.3f}）に下がりました。"
        "正解が漏れています。よくある原因：未来が見えるマスク、ずらされていない正解。",
    ),
    "initial_loss": (
        "A new model's loss on random tokens is {loss:.2f} nats, but should be about ln V = {guess:.2f}. "
        "Usual cause: initial weights that are too large, or a loss that sums where it should average.",
        "新しいモデルの、でたらめなトークンでの損失が {loss:.2f} nat です（ln V = {guess:.2f} 程度のはずです）。"
        "よくある原因：大きすぎる初期値、平均すべきところで和をとる損失。",
    ),
    "gradient_missing": (
        "{count} parameters get no gradient: {parameters}. "
        "Usual cause: `detach` or `no_grad` on the way, or a part that is never used.",
        "{count} 個のパラメータに勾配が届きません：{parameters}。"
        "よくある原因：途中の `detach` や `no_grad`、使われていない部分。",
    ),
    "gradient_not_finite": (
        "{count} parameters get a gradient that is not finite: {parameters}. "
        "Usual cause: a square root or logarithm at 0, or a softmax over a row that is wholly masked.",
        "{count} 個のパラメータの勾配が有限ではありません：{parameters}。"
        "よくある原因：0 での平方根や対数、全体がマスクされた行のソフトマックス。",
    ),
    "gradient_wrong": (
        "The gradient is not the derivative of the loss; it is most wrong for `{parameter}` (by {share:.0e} of the "
        "whole). Usual cause: a `detach` on one path or head, or a wrong custom backward pass.",
        "勾配が損失の微分と一致しません。最も違うのは `{parameter}` です（全体の {share:.0e}）。"
        "よくある原因：一部の経路やヘッドの `detach`、誤った自作の逆伝播。",
    ),
    "does_not_learn": (
        "Sixty steps on one small batch brought the loss from {before:.2f} to {after:.2f} only. "
        "Usual cause: a part without gradient, a wrong sign, or a loss that does not depend on the weights.",
        "小さなバッチ一つで 60 ステップ訓練しても、損失は {before:.2f} から {after:.2f} にしかなりません。"
        "よくある原因：勾配のない部分、符号の誤り、重みによらない損失。",
    ),
    "update_size": (
        "One step of the optimizer moves `{parameter}` by {moved:.1e}, and it is {size:.1e} large. "
        "Usual cause: a parameter that the optimizer was not given, or a learning rate that is far off.",
        "最適化の 1 ステップで `{parameter}`（大きさ {size:.1e}）が {moved:.1e} 動きます。"
        "よくある原因：最適化に渡されていないパラメータ、桁の違う学習率。",
    ),
    "update_raises_loss": (
        "One step of the optimizer raises the loss of its own batch from {before:.3f} to {after:.3f}. "
        "Usual cause: a step against the gradient, or a learning rate that is far too large.",
        "最適化の 1 ステップで、そのバッチの損失が {before:.3f} から {after:.3f} に上がります。"
        "よくある原因：逆向きの更新、大きすぎる学習率。",
    ),
    "raised": (
        "The model raised {error} where it should have answered: {text} ({file}, line {line})",
        "答えるはずのところで、モデルが {error} を送出しました：{text}（{file}、{line} 行）",
    ),
    "text_changed": (
        "The tokenizer does not give back {text!r}; it comes back as {back!r}. "
        "Usual cause: a normaliser, lower-casing, or an unknown token. Bits per byte would not be comparable.",
        "トークナイザーが {text!r} を元に戻せず、{back!r} になります。"
        "よくある原因：正規化、小文字化、未知語トークン。バイトあたりのビット数が比較できなくなります。",
    ),
    "bytes_differ": (
        "Document {document} of '{source}' has {bytes} bytes, but its tokens stand for {found}. "
        "Usual cause: special tokens or word-boundary marks that are counted as text.",
        "'{source}' の文書 {document} は {bytes} バイトですが、トークンが表すのは {found} バイトです。"
        "よくある原因：本文として数えられた特殊トークンや単語境界の記号。",
    ),
    "targets_not_next": (
        "The target at position {position} of row {row} is token {found}, but the next token is {expected}. "
        "Usual cause: labels shifted once too often or not at all.",
        "{row} 行目の位置 {position} の正解が {found} ですが、次のトークンは {expected} です。"
        "よくある原因：ずらし忘れたか、二重にずらしたラベル。",
    ),
    "batch_changes": (
        "Step {step} was given other tokens when it was asked for again, so a resumed run would not repeat it. "
        "Usual cause: a random state that is shared or not saved.",
        "ステップ {step} をもう一度求めると、別のトークンになりました。再開した訓練が一致しなくなります。"
        "よくある原因：共有された、または保存されない乱数の状態。",
    ),
    "document_ids_wrong": (
        "Row {row} changes its document at position {position}, where no document begins. "
        "Usual cause: ids counted from the target's side, off by one.",
        "{row} 行目の位置 {position} で文書番号が変わりますが、そこから始まる文書はありません。"
        "よくある原因：正解側から数えた、一つずれた番号。",
    ),
    "held_out_seen": (
        "Of {documents} validation documents of '{source}', {copies} are also training documents and {sharing} share a "
        "passage of {passage} with one: validation figures flatter the model.",
        "'{source}' の検証用の文書 {documents} 件のうち、{copies} 件は訓練用にもあり、{sharing} 件は {passage} の一致が"
        "あります。検証の数値は実際より良く見えます。",
    ),
    "too_good": (
        "Held-out text ({language}) is predicted with {bits_per_byte:.3f} bits per byte after {tokens:,} tokens; small "
        "models stay above {floor:.2f}. Usual cause: a mask that shows the future, targets that are given as input, or "
        "validation text that is trained on.",
        "{tokens:,} トークンの訓練で、検証用の文（{language}）のバイトあたりビット数が {bits_per_byte:.3f} です。"
        "小さなモデルなら {floor:.2f} を下回りません。"
        "よくある原因：未来が見えるマスク、入力に混ざった正解、訓練に含まれる検証用の文。",
    ),
    "doctor_skipped": (
        "The model was trained without being examined (--skip-doctor), so none of its figures can be trusted. Examine "
        "it now: the checks of the model stand above.",
        "検査を省いて（--skip-doctor）学習したモデルなので、どの数値も信用できません。今からでも検査してください。",
    ),
    "not_finite": (
        "The training stopped at a loss or gradient that is no finite number; '{file}' tells the step and its "
        "documents. Usual cause: a learning rate that is too high, too short a warm-up, or one broken document.",
        "損失か勾配が有限の数でなくなり、学習が止まりました。ステップと文書は '{file}' にあります。"
        "よくある原因：高すぎる学習率、短すぎるウォームアップ、壊れた文書。",
    ),
    "normal": (
        "Bits per byte are normal for this size and so many tokens: {figures}.",
        "この規模とトークン数として、バイトあたりのビット数は正常です：{figures}。",
    ),
    "better_than_normal": (
        "Too good too early: {bits_per_byte:.3f} bits per byte ({language}) after {tokens:,} tokens of it, where "
        "models of this size are expected at {low:.2f} to {high:.2f} (reference: {runs}; this run's text: {text}). "
        "Usual cause: a mask that shows the future, labels that are given as input, or held-out text that is trained "
        "on. Easier text than the reference's does it, too.",
        "早すぎて良すぎます：この言語（{language}）の {tokens:,} トークンで、バイトあたり {bits_per_byte:.3f} ビットで"
        "す。この規模のモデルなら {low:.2f}〜{high:.2f} のはずです（参照：{runs}、この学習の文：{text}）。"
        "よくある原因：未来が見えるマスク、入力に混ざった正解、訓練に含まれる検証用の文。"
        "参照より易しい文でも起こります。",
    ),
    "worse_than_normal": (
        "Learns too slowly: {bits_per_byte:.3f} bits per byte ({language}) after {tokens:,} tokens of it, where "
        "models of this size are expected at {low:.2f} to {high:.2f} (reference: {runs}; this run's text: {text}). "
        "Usual cause: a learning rate that is far off (here {learning_rate:.0e}), batches that are too large, or "
        "harder text than the reference's.",
        "学習が遅すぎます：この言語（{language}）の {tokens:,} トークンで、バイトあたり {bits_per_byte:.3f} ビットです"
        "。この規模のモデルなら {low:.2f}〜{high:.2f} のはずです（参照：{runs}、この学習の文：{text}）。よくある原因："
        "桁の違う学習率（ここでは {learning_rate:.0e}）、大きすぎるバッチ、参照より難しい文。",
    ),
    "stuck_at_guess": (
        "Nothing is learnt: after {step:,} steps the loss is {loss:.2f} nats, and a uniform guess has ln V = "
        "{guess:.2f}. Usual cause: a learning rate that is far too low (here {learning_rate:.0e}), parameters that "
        "the optimizer was not given, or a loss that does not depend on the weights.",
        "何も学んでいません：{step:,} ステップ後の損失は {loss:.2f} nat、一様な当て推量なら ln V = {guess:.2f} です。"
        "よくある原因：低すぎる学習率（ここでは {learning_rate:.0e}）、最適化に渡されていないパラメータ、"
        "重みによらない損失。",
    ),
    "stuck_at_unigram": (
        "Only how frequent tokens are is learnt: after {step:,} steps the loss is {loss:.2f} nats, and their "
        "frequencies alone give {unigram:.2f}. Usual cause: a learning rate that is far off (here "
        "{learning_rate:.0e}), a mask that hides the past, or text without order.",
        "トークンの頻度しか学んでいません：{step:,} ステップ後の損失は {loss:.2f} nat、"
        "頻度だけでも {unigram:.2f} になります。よくある原因：桁の違う学習率（ここでは {learning_rate:.0e}）、"
        "過去を隠すマスク、順序のない文。",
    ),
    "diverges": (
        "The training diverges: the loss fell to {lowest:.2f} nats at step {at:,} and is {loss:.2f} at step {step:,}. "
        "Usual cause: a learning rate that is too high (here {learning_rate:.0e}), too short a warm-up ({warmup} "
        "steps), or no clipping (clip_norm {clip_norm}).",
        "学習が発散しています：損失はステップ {at:,} で {lowest:.2f} nat まで下がり、"
        "ステップ {step:,} では {loss:.2f} です。よくある原因：高すぎる学習率（ここでは {learning_rate:.0e}）、"
        "短すぎるウォームアップ（{warmup} ステップ）、勾配を切り詰めていないこと（clip_norm {clip_norm}）。",
    ),
    "spikes": (
        "The loss jumps: {count} of {lines} lines, from step {first:,} to {last:,}, stand a nat above those around "
        "them. Usual cause: a learning rate that is too high (here {learning_rate:.0e}), too short a warm-up "
        "({warmup} steps), no clipping (clip_norm {clip_norm}), or broken documents.",
        "損失が跳ねています：{lines} 行のうち {count} 行（ステップ {first:,}〜{last:,}）が、"
        "前後より 1 nat 以上高くなっています。よくある原因：高すぎる学習率（ここでは {learning_rate:.0e}）、"
        "短すぎるウォームアップ（{warmup} ステップ）、勾配を切り詰めていないこと（clip_norm {clip_norm}）、"
        "壊れた文書。",
    ),
    "no_gap": (
        "After {passes:.1f} passes over the training text, held-out text is easier ({validation:.2f} nats a token) "
        "than the training text ({training:.2f}). Usual cause: validation files that are trained on, or held-out text "
        "of another, easier kind.",
        "訓練用の文を {passes:.1f} 回読んだ後で、検証用の文（{validation:.2f} nat／トークン）"
        "が訓練用の文（{training:.2f}）より易しくなっています。よくある原因：訓練に含まれる検証用のファイル、"
        "種類の違う易しい検証用の文。",
    ),
    "foreign_evaluation": (
        "What is evaluated is not what is trained: from step {at:,} to step {step:,} the validation loss rose from "
        "{before:.2f} to {validation:.2f}, while the training loss went from {training_before:.2f} to {training:.2f}, "
        "after {passes:.1f} passes over the text.{jumps} Usual cause: a recorded or compiled step that reads the "
        "memory of tensors that were exchanged, dropout or batch statistics in evaluation, another mask, other "
        "positions or another tokenizer in evaluation than in training, or a wrong checkpoint loaded. Train with "
        "train.compile=false, and compare a step's loss with the plain model's on the same rows. Until then, trust no "
        "checkpoint of this run.",
        "評価しているものが、学習しているものと違います：ステップ {at:,} から {step:,} の間に、検証の損失は"
        " {before:.2f} から {validation:.2f} に上がりましたが、訓練の損失は {training_before:.2f} から {training:.2f} "
        "です（文を {passes:.1f} 回読んだ時点）。{jumps}よくある原因：入れ替えられたテンソルの古いメモリを読み続ける、"
        "記録またはコンパイルされたステップ、評価時のドロップアウトやバッチ統計、"
        "訓練時と異なる評価時のマスク・位置・トークナイザー、誤ったチェックポイントの読み込み。"
        "train.compile=false で学習し、同じ行でのステップの損失を素のモデルの損失と比べてください。"
        "それまでは、この学習のどのチェックポイントも信用できません。",
    ),
    "overfits": (
        "The model learns its training text by heart: the validation loss was {best:.3f} at step {at:,} and has risen "
        "to {validation:.3f}, while the training loss is {training:.2f} after {passes:.1f} passes over the text. "
        "Usual cause: too many passes; more text, fewer steps or dropout help. `tsumiki generate` takes the best "
        "checkpoint by itself.",
        "訓練用の文を丸暗記しています：検証の損失はステップ {at:,} の {best:.3f} から {validation:.3f} に上がりました"
        "が、文を {passes:.1f} 回読んだ訓練の損失は {training:.2f} です。よくある原因：読む回数が多すぎること。"
        "文を増やす、ステップを減らす、ドロップアウトを使うと改善します。`tsumiki generate` は最良のチェックポイントを"
        "使います。",
    ),
    "one_language_behind": (
        "One language is behind: against what is normal for each, {language} is {behind:.0%} worse than {other}. "
        "Usual cause: too small a share of the tokens (here {share:.0%}; raise the weight of its sources), harder "
        "text than the reference's, or a tokenizer that cuts it too finely (here {bytes_per_token:.1f} bytes a token).",
        "遅れている言語があります：それぞれの通常の値に比べて、{language} は {other} より {behind:.0%} 悪くなっていま"
        "す。よくある原因：少なすぎるトークンの割合（ここでは {share:.0%}。データ源の重みを上げてください）、"
        "参照より難しい文、細かく切りすぎるトークナイザー（ここでは 1 トークン {bytes_per_token:.1f} バイト）。",
    ),
    "slower": (
        "The training has become slower: from {before:,.0f} to {after:,.0f} tokens a second. Usual cause: other "
        "programs on the machine, a device that gets hot, or memory that runs out.",
        "学習が遅くなっています：毎秒 {before:,.0f} トークンから {after:,.0f} トークンになりました。"
        "よくある原因：同じ機械のほかのプログラム、発熱、メモリ不足。",
    ),
    "gradient_vanishes": (
        "The gradient vanishes: its norm fell from {before:.1e} to {after:.1e}. Usual cause: saturated activations or "
        "gates, or a learning rate that is far too high and has driven the weights away.",
        "勾配が消えています：ノルムが {before:.1e} から {after:.1e} に下がりました。"
        "よくある原因：飽和した活性化やゲート、高すぎて重みを飛ばしてしまった学習率。",
    ),
    "no_languages": ("no evaluation yet", "評価はまだありません"),
    "no_from_scratch": ("it began with trained weights", "学習済みの重みから始まっています"),
    "no_reference_curve": ("no reference run of about this size", "近い規模の参照がありません"),
    "evaluations_are_foreign": ("its evaluations are of another model", "評価が学習中のモデルのものではありません"),
    "too_short": ("the run is too short to tell", "判断するには短すぎます"),
    "no_module": ("not a torch module: its weights are out of reach", "torch のモジュールではないため重みに触れません"),
    "no_embedding": (
        "no submodule turns the tokens into vectors",
        "トークンをベクトルにする部分モジュールがありません",
    ),
    "no_cached": ("no KV cache is known", "KV キャッシュの使い方が不明です"),
    "no_packed": ("no way to pack documents is known", "文書の詰め合わせ方が不明です"),
    "no_padded": ("no way to tell padding is known", "パディングの伝え方が不明です"),
    "no_loss": ("the model computes no loss", "モデルが損失を計算しません"),
    "no_fresh": ("no way to a newly initialised model is known", "新しく初期化する方法が不明です"),
    "no_spellings": ("only one backend", "バックエンドは一つだけです"),
    "no_reference": ("no reference for this kind of model", "この種のモデルの参照実装がありません"),
    "no_train": ("no way to train it is known", "訓練の方法が不明です"),
    "no_optimizer": ("no optimizer was given", "オプティマイザーが渡されていません"),
    "no_data": ("no data was given", "データが渡されていません"),
    "unknown_to_reference": ("the reference does not know this architecture", "参照実装にない構造です"),
    "needs_float64": ("the model rounds to float32 on its way", "途中で float32 に丸めるモデルです"),
}
"""Code of a verdict -> what it says. `{where}` is the submodule where two computations part, if it is known."""


def default_language() -> Language:
    """Japanese where the locale is Japanese, otherwise English."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    chosen = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "ja" if chosen.lower().startswith("ja") else "en"


def title(check: str, language: Language = "en") -> str:
    """What a check stands for."""
    return TITLES[check][language == "ja"]


def sentence(verdict: Verdict, language: Language = "en") -> str:
    """What a verdict says: what is wrong, where, and what usually causes it."""
    return SENTENCES[verdict.code][language == "ja"].format(**_words(verdict.values, language))


def _words(values: dict[str, Any], language: Language) -> dict[str, Any]:
    words = dict(values)
    where = words.get("where")
    if language == "ja":
        words["where"] = f"、最初は `{where}`" if where else ""
    else:
        words["where"] = f", first in `{where}`" if where else ""
    if "first" in words:
        first, last = words["first"], words["last"]
        if language == "ja":
            words["positions"] = f"位置 {first}" if first == last else f"位置 {first}〜{last}"
        else:
            words["positions"] = f"position {first}" if first == last else f"positions {first} to {last}"
    if "jumps" in words:
        steps = ", ".join(f"{step:,}" for step in words["jumps"])
        if language == "ja":
            words["jumps"] = f"評価の直後（ステップ {steps}）に、訓練の損失も跳ねています。" if steps else ""
        else:
            words["jumps"] = f" The training loss jumped just after an evaluation (at step {steps})." if steps else ""
    if "parameters" in words and isinstance(words["parameters"], list):
        words["parameters"] = ", ".join(words["parameters"])
    return words
