"""The report of one run. What a reader wants to know in ten seconds comes first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tsumiki import models
from tsumiki.config import dump_yaml
from tsumiki.doctor import explain, from_json, sentence
from tsumiki.doctor.history import History
from tsumiki.doctor.messages import Language, title
from tsumiki.doctor.verdict import Verdict
from tsumiki.generate import one_line
from tsumiki.report.blocks import Banner, Block, Code, Curve, Figure, Figures, Paragraph, Report, Section, Table, Tone

LANGUAGES: tuple[Language, ...] = ("en", "ja")

TONES: dict[str, Tone] = {"passed": "good", "warned": "note", "failed": "bad", "skipped": "plain"}
STATUS = {"passed": ("ok", "ok"), "warned": ("note", "注意"), "failed": ("FAILED", "異常"), "skipped": ("-", "-")}

Axis = tuple[str, str, Callable[[History, int], float]]
"""Name of a horizontal axis, what it is called, and where a step lies on it."""


def run_report(history: History, language: Language = "en") -> Report:
    """The report of a run, in one language."""
    sections = (verdict, doctor, curves, loss, bits, training, samples, size, data, repeat)
    name = history.manifest["name"]
    return Report(language, f"tsumiki: {name}", [section(history, language) for section in sections])


def verdict(history: History, language: Language) -> Section:
    """Which model, whether it was verified, how good it is, and whether anything is suspicious."""
    say = _speaker(language)
    blocks: list[Block] = [examination(history, language)]
    wrong = [found for found in explain(history) if found.status in ("failed", "warned") and found.check != "examined"]
    blocks += [Banner(sentence(found, language), TONES[found.status]) for found in wrong]
    if not wrong:
        blocks.append(Banner(say("The curves show nothing suspicious.", "曲線に疑わしいところはありません。"), "good"))
    planned = history.config["train"]["steps"]
    if not history.finished:
        blocks.append(
            Banner(
                say(
                    f"Not finished: {history.step:,} of {planned:,} steps.",
                    f"途中です：{planned:,} ステップのうち {history.step:,}。",
                ),
                "note",
            )
        )
    model, last = history.model, history.updates[-1]
    seconds = history.seconds(history.step)
    rows = [
        (say("model", "モデル"), f"{model.family}, {history.parameters:,} " + say("parameters", "パラメータ")),
        (
            say("trained", "学習"),
            say(
                f"{history.step:,} steps, {history.tokens(history.step):,.0f} tokens, {seconds / 60:.1f} minutes",
                f"{history.step:,} ステップ、{history.tokens(history.step):,.0f} トークン、{seconds / 60:.1f} 分",
            ),
        ),
        (say("on", "デバイス"), history.manifest["sessions"][-1]["device"]),
        (say("training loss", "訓練の損失"), f"{last['loss']:.3f} nat"),
    ]
    if history.evaluations:
        values = history.evaluations[-1]["bits_per_byte"]
        rows += [
            (say(f"bits per byte, {name}", f"ビット／バイト、{name}"), f"{value:.3f}") for name, value in values.items()
        ]
    return Section(say("In short", "要点"), [*blocks, Table(("", ""), rows)])


def examination(history: History, language: Language) -> Banner:
    """Whether the doctor examined the model, in a sentence; red if not."""
    say = _speaker(language)
    if history.unexamined:
        return Banner(
            say(
                "NOT EXAMINED: the doctor was skipped (--skip-doctor). Nothing on this page can be trusted.",
                "未検査：ドクターが省かれました（--skip-doctor）。このページの数値はどれも信用できません。",
            ),
            "bad",
        )
    if history.receipt is None:
        return Banner(say("There is no doctor's receipt.", "ドクターの受領証がありません。"), "bad")
    diagnosis = from_json(history.receipt)
    counts = {status: sum(found.status == status for found in diagnosis.verdicts) for status in TONES}
    setting = "{context}, {dtype}, {device}".format(**diagnosis.setting)
    if not diagnosis.ok:
        return Banner(
            say(f"{counts['failed']} checks FAILED.", f"{counts['failed']} 件の検査で異常があります。"), "bad"
        )
    return Banner(
        say(
            f"Verified: {counts['passed']} checks passed at length {setting}; {counts['skipped']} do not apply.",
            f"検証済み：長さ {setting} で {counts['passed']} 件の検査に合格（対象外 {counts['skipped']} 件）。",
        ),
        "good",
    )


def doctor(history: History, language: Language) -> Section:
    """Every check before training, and what the verdicts hold for."""
    say = _speaker(language)
    heading = say("The doctor: before training", "ドクター：学習の前")
    if history.receipt is None:
        return Section(heading, [examination(history, language)])
    diagnosis = from_json(history.receipt)
    setting = diagnosis.setting
    facts = [
        (say("lengths up to", "長さ"), f"{setting['context']:,}"),
        (say("windows", "窓"), ", ".join(map(str, setting["windows"])) or "-"),
        ("dtype", f"{setting['dtype']} ({setting['precision']})"),
        (say("tolerance", "許容差"), f"{setting['tolerance']:.0e}"),
        (say("device", "デバイス"), setting["device"]),
        (say("backend", "バックエンド"), _inline(setting["backend"])),
        (say("versions", "バージョン"), _inline(setting["versions"])),
        (say("architecture", "構造"), f"sha256 {diagnosis.model['architecture_sha256'][:16]}"),
    ]
    note = say(
        "Verified at these lengths, dtypes and backends, and at no others.",
        "この長さ、dtype、バックエンドでの検証であり、ほかの条件については何も言いません。",
    )
    return Section(heading, [_verdicts(diagnosis.verdicts, language), Paragraph(note), Table(("", ""), facts)])


def curves(history: History, language: Language) -> Section:
    """What the doctor reads from the curves."""
    heading = _speaker(language)("The doctor: the curves", "ドクター：曲線")
    return Section(heading, [_verdicts(explain(history), language)])


def loss(history: History, language: Language) -> Section:
    """The loss against steps, tokens and time."""
    say = _speaker(language)
    figures = [
        Figure(
            f"loss-{name}",
            say("Loss", "損失"),
            label,
            say("nats a token", "nat／トークン"),
            [
                Curve(say("training", "訓練"), *_points(history, history.updates, place, "loss")),
                Curve(say("validation", "検証"), *_points(history, history.evaluations, place, "loss"), dots=True),
            ],
        )
        for name, label, place in axes(language)
    ]
    return Section(say("Loss", "損失"), [Figures(figures)])


def axes(language: Language) -> list[Axis]:
    """Steps, tokens and time."""
    say = _speaker(language)
    return [
        ("steps", say("steps", "ステップ"), lambda history, step: step),
        ("tokens", say("tokens", "トークン"), lambda history, step: history.tokens(step)),
        ("time", say("minutes", "分"), lambda history, step: history.seconds(step) / 60),
    ]


def bits(history: History, language: Language) -> Section:
    """Bits per byte and per character by language."""
    say = _speaker(language)
    heading = say("Held-out text", "検証用の文")
    if not history.evaluations:
        return Section(heading, [Paragraph(say("It was not evaluated yet.", "まだ評価されていません。"))])
    _, label, place = axes(language)[1]
    names = {
        "bits_per_byte": say("bits per byte", "ビット／バイト"),
        "bits_per_character": say("bits per character", "ビット／文字"),
    }
    figures = [
        Figure(
            key,
            name,
            label,
            name,
            [Curve(of, *_points(history, history.evaluations, place, key, of), dots=True) for of in history.languages],
        )
        for key, name in names.items()
    ]
    best = min(history.evaluations, key=lambda line: line["loss"])
    moments = {
        say("before", "学習前"): history.evaluations[0],
        say(f"best, step {best['step']:,}", f"最良（{best['step']:,}）"): best,
        say("last", "最後"): history.evaluations[-1],
    }
    rows = [
        (f"{name}, {of}", *(f"{line[key][of]:.3f}" for line in moments.values()))
        for key, name in names.items()
        for of in history.languages
    ]
    note = say(
        "Compare bits per byte between models, never between languages.",
        "ビット／バイトはモデルどうしで比べるもので、言語どうしでは比べられません。",
    )
    return Section(heading, [Table(("", *moments), rows, numbers=(1, 2, 3)), Figures(figures), Paragraph(note)])


def training(history: History, language: Language) -> Section:
    """Learning rate, gradient norm, throughput, and how many experts are in use."""
    say = _speaker(language)
    _, label, place = axes(language)[0]
    drawn = {
        "learning_rate": (say("Learning rate", "学習率"), "", False),
        "gradient_norm": (say("Norm of the gradient before clipping", "切り詰める前の勾配のノルム"), "", True),
        "tokens_per_second": (say("Throughput", "速さ"), say("tokens a second", "トークン／秒"), False),
    }
    figures = [
        Figure(key, name, label, unit, [Curve(name, *_points(history, history.updates, place, key))], logarithmic)
        for key, (name, unit, logarithmic) in drawn.items()
    ]
    if "effective_experts" in history.updates[-1]:
        layers = history.updates[-1]["effective_experts"]
        experts = [Curve(of, *_points(history, history.updates, place, "effective_experts", of)) for of in layers]
        figures.append(Figure("experts", say("Experts in use", "使われているエキスパート"), label, "", experts))
    return Section(say("Training", "学習の経過"), [Figures(figures)])


def samples(history: History, language: Language) -> Section:
    """The texts for each prompt and temperature as they developed, as they came."""
    say = _speaker(language)
    blocks: list[Block] = [Paragraph(say("As they came, none chosen.", "選ばずに、そのまま載せています。"))]
    shown = _spread(history.evaluations, 6)
    for number, sample in enumerate(shown[-1]["samples"] if shown else ()):
        blocks.append(
            Paragraph(f"{one_line(sample['prompt'])} … ({say('temperature', '温度')} {sample['temperature']:g})")
        )
        rows = [
            (f"{line['step']:,}", one_line(line["samples"][number]["text"]))
            for line in shown
            if len(line["samples"]) > number
        ]
        blocks.append(Table((say("step", "ステップ"), say("text", "文")), rows, numbers=(0,)))
    return Section(say("Samples", "書いた文"), blocks)


def size(history: History, language: Language) -> Section:
    """Parameters by part, and memory."""
    say = _speaker(language)
    plan = models.plan(history.model)
    parts = sorted(plan.parameters.items(), key=lambda item: -item[1])
    rows = [(part, f"{count:,}", f"{count / plan.total:.1%}") for part, count in (*parts, ("=", plan.total))]
    memory = [
        (say("weights, fp32", "重み（fp32）"), _megabytes(plan.weight_bytes)),
        (say("weights, gradients and moments", "重み、勾配、モーメント"), _megabytes(plan.training_bytes)),
        (say("KV cache of a full context, fp32", "文脈全体の KV キャッシュ（fp32）"), _megabytes(plan.cache_bytes)),
        (
            say("highest while training", "学習中の最大"),
            _megabytes(max(line["memory_bytes"] for line in history.updates)),
        ),
        (say("computation a token, forward", "1 トークンの計算（順伝播）"), f"{plan.forward_flops / 1e6:,.1f} MFLOP"),
    ]
    headings = (say("part", "部分"), say("parameters", "パラメータ"), say("share", "割合"))
    return Section(
        say("Size", "大きさ"), [Table(headings, rows, numbers=(1, 2)), Table(("", ""), memory, numbers=(1,))]
    )


def data(history: History, language: Language) -> Section:
    """The text, its licences, and how held-out it is."""
    say = _speaker(language)
    content = history.manifest["data"]
    sources = [
        (
            source["identity"].get("dataset", source["name"]),
            source["language"],
            source.get("licence") or say("not stated", "記載なし"),
            f"{source['share']:.1%}",
            *(f"{source['train'][key]:,}" for key in ("documents", "bytes", "tokens")),
            f"{source['validation']['documents']:,}",
        )
        for source in content["sources"]
    ]
    headings = (
        say("source", "データ源"),
        say("language", "言語"),
        say("licence", "ライセンス"),
        say("share", "割合"),
        say("documents", "文書数"),
        say("bytes", "バイト数"),
        say("tokens", "トークン数"),
        say("held out", "検証用"),
    )
    overlap = [
        (found["source"], f"{found['documents']:,}", f"{found['copies']:,}", f"{found['sharing']:,}", found["passage"])
        for found in content["overlap"]
    ]
    shared = (
        say("source", "データ源"),
        say("held-out documents", "検証用の文書"),
        say("also trained on", "訓練にもある"),
        say("sharing a passage", "一節を共有"),
        say("passage", "一節の長さ"),
    )
    return Section(
        say("Data", "データ"),
        [Table(headings, sources, numbers=range(3, 8)), Table(shared, overlap, numbers=range(1, 4))],
    )


def repeat(history: History, language: Language) -> Section:
    """Everything needed to repeat the run."""
    say = _speaker(language)
    headings = (
        say("started", "開始"),
        say("after step", "ステップの後"),
        say("doctor", "ドクター"),
        say("device", "デバイス"),
        say("threads", "スレッド"),
        "git",
        say("versions", "バージョン"),
        say("command", "コマンド"),
    )
    rows = [
        (
            session["started"],
            f"{session['step']:,}",
            session["doctor"],
            session["device"],
            str(session["threads"]),
            session["git"]["tsumiki"] or "-",
            _inline(session["versions"]),
            " ".join(session.get("command", ())),
        )
        for session in history.manifest["sessions"]
    ]
    tones: list[Tone] = ["bad" if row[2] == "skipped" else "plain" for row in rows]
    how = say(
        "Save this as run.yaml; `tsumiki train run.yaml` repeats the run, on a CPU bit for bit.",
        "run.yaml として保存し、`tsumiki train run.yaml` とすると再現できます（CPU ではビット単位で一致します）。",
    )
    return Section(
        say("To repeat it", "再現するには"),
        [Table(headings, rows, tones=tones), Paragraph(how), Code(dump_yaml(dict(history.config)))],
    )


def _verdicts(found: Sequence[Verdict], language: Language) -> Table:
    say = _speaker(language)
    headings = (
        say("check", "検査"),
        say("what must hold", "成り立つべきこと"),
        "",
        say("s", "秒"),
        say("found", "結果"),
    )
    rows = [
        (
            one.check,
            title(one.check, language),
            STATUS[one.status][language == "ja"],
            f"{one.seconds:.2f}",
            _figures(one) if one.code == "passed" else sentence(one, language),
        )
        for one in found
    ]
    return Table(
        headings, rows, numbers=(3,), tones=[TONES[one.status] if one.status != "passed" else "plain" for one in found]
    )


def _figures(verdict: Verdict) -> str:
    """The figures behind a verdict that found nothing."""

    def short(value: object) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    return ", ".join(f"{name} {short(value)}" for name, value in verdict.values.items())


def _points(
    history: History, lines: Sequence[Mapping[str, Any]], place: Callable[[History, int], float], *keys: str
) -> tuple[list[float], list[float]]:
    """A measurement's places on the horizontal axis and its values; the keys lead to it."""
    x, y = [], []
    for line in lines:
        value: Any = line
        for key in keys:
            value = value[key]
        x.append(place(history, line["step"]))
        y.append(value)
    return x, y


def _spread(lines: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """So many of the lines at most, evenly, with the first and the last."""
    if len(lines) <= most:
        return list(lines)
    return [lines[round(number * (len(lines) - 1) / (most - 1))] for number in range(most)]


def _inline(mapping: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items()) if isinstance(mapping, dict) else str(mapping)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _speaker(language: Language) -> Callable[[str, str], str]:
    """Chooses between English and Japanese."""
    return lambda english, japanese: japanese if language == "ja" else english
