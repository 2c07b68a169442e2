"""日本語の文法規則を十三。語は、tsumiki に付属するおはなしの表記に合わせてあります。

Thirteen rules of Japanese grammar, spelled as the stories that come with tsumiki spell their words: counters and many
words in kana. Each function makes all groups of a paradigm out of its templates. A word may stand in a list only if
every right sentence that it leads to is natural and every wrong one is wrong to a native ear; what has a second,
grammatical reading (窓を開く, 海を行く, 庭に遊ぶ, 鳥が三匹) is left out.
"""

from collections.abc import Iterator
from itertools import product

from tsumiki.evaluate.minimal_pairs.paradigm import Group, Paradigm, contrast, swap

PEOPLE = (
    "男の子",
    "女の子",
    "先生",
    "船長",
    "お母さん",
    "おじいさん",
    "妹",
    "おばさん",
    "お父さん",
    "おばあさん",
    "弟",
    "おじさん",
)
PLACES = ("庭", "公園", "台所", "部屋", "学校", "教室", "広場", "図書館", "店")


def transitivity() -> Iterator[Group]:
    """明かりを消す、明かりが消える。"""
    verbs = (
        ("明かり", "消しました", "消えました"),
        ("ランプ", "消しました", "消えました"),
        ("時計", "止めました", "止まりました"),
        ("時計", "直しました", "直りました"),
        ("ボール", "転がしました", "転がりました"),
        ("かさ", "こわしました", "こわれました"),
        ("戸", "しめました", "しまりました"),
        ("まど", "しめました", "しまりました"),
        ("皿", "わりました", "われました"),
        ("かぎ", "見つけました", "見つかりました"),
        ("いす", "動かしました", "動きました"),
        ("かね", "鳴らしました", "鳴りました"),
        ("りんご", "落としました", "落ちました"),
        ("えだ", "ゆらしました", "ゆれました"),
        ("石", "ならべました", "ならびました"),
    )
    openings = (
        "とつぜん、",
        "そのとき、",
        "しばらくすると、",
        "やがて、",
        "夜になると、",
        "その日、",
        "次の朝、",
        "さいごに、",
    )
    for (noun, transitive, intransitive), (who, opening) in product(verbs, zip(PEOPLE[:8], openings, strict=True)):
        yield contrast(f"{who}が{noun}_{transitive}。", f"{opening}{noun}_{intransitive}。", "を", "が")


def place() -> Iterator[Group]:
    """庭にいる、庭で歌う。"""
    actions = (
        "歌いました",
        "わらいました",
        "なきました",
        "本を読みました",
        "パンを食べました",
        "お茶を飲みました",
        "手をあらいました",
    )
    for number, (where, who) in enumerate(product(PLACES, PEOPLE)):
        action = actions[number % len(actions)]
        yield contrast(f"{where}_{who}がいました。", f"{where}_{who}が{action}。", "に", "で")


def object_or_goal() -> Iterator[Group]:
    """本を読む、バスに乗る。"""
    objects = (
        ("本", "読みました"),
        ("新聞", "読みました"),
        ("水", "飲みました"),
        ("お茶", "飲みました"),
        ("パン", "食べました"),
        ("りんご", "食べました"),
        ("ぼうし", "買いました"),
        ("くつ", "買いました"),
        ("皿", "あらいました"),
    )
    goals = (
        ("学校", "行きました"),
        ("図書館", "行きました"),
        ("病院", "行きました"),
        ("駅", "着きました"),
        ("いす", "すわりました"),
        ("バス", "乗りました"),
        ("電車", "乗りました"),
        ("友だち", "会いました"),
        ("家", "帰りました"),
    )
    for who, ((thing, acts), (goal, goes)) in product(PEOPLE, zip(objects, goals, strict=True)):
        yield contrast(f"{who}は{thing}_{acts}。", f"{who}は{goal}_{goes}。", "を", "に")


def copula() -> Iterator[Group]:
    """星だと思う、道は長いです。"""
    things = ("星", "船", "雪", "石", "花", "鳥", "月", "犬", "島")
    descriptions = (
        ("船", "古い"),
        ("かばん", "重い"),
        ("水", "つめたい"),
        ("部屋", "暗い"),
        ("パン", "おいしい"),
        ("石", "丸い"),
        ("山", "高い"),
        ("道", "長い"),
        ("花", "赤い"),
        ("皿", "白い"),
        ("ぼうし", "新しい"),
        ("犬", "大きい"),
    )
    degrees = ("とても", "本当に", "少し")
    thoughts = product(PEOPLE, things)
    for (who, thing), (this, (noun, adjective), degree) in zip(
        thoughts, product(("この", "その", "あの"), descriptions, degrees), strict=True
    ):
        yield contrast(f"{who}は、あれは{thing}_と思いました。", f"{this}{noun}は{degree}{adjective}_。", "だ", "です")


COUNTERS = {
    "ひき": ("庭に犬が", "庭にねこが", "台所にねずみが", "池にカエルが"),
    "羽": ("庭に鳥が", "屋根にハトが", "えだに小鳥が"),
    "本": ("箱にえんぴつが", "台所にびんが", "教室にかさが", "つくえにろうそくが"),
    "さつ": ("部屋に本が", "つくえにノートが"),
    "まい": ("つくえに紙が", "台所に皿が", "箱に切手が", "部屋に写真が"),
    "人": ("庭に子どもが", "公園に男の子が", "教室に先生が"),
}
ALIVE = ("ひき", "羽", "人")
NOT_WRONG_ENOUGH = ({"ひき", "羽"}, {"さつ", "まい"})
"""鳥を「四ひき」と数える人もいる。「ノート四まい」は紙が四まいとも読める。"""


def counters() -> Iterator[Group]:
    """犬は四ひき、本は四さつ。二・四・五・七・九の後では「ひき」の音が変わらない。"""
    for (first, ones), (second, others) in product(COUNTERS.items(), COUNTERS.items()):
        if first >= second or {first, second} in NOT_WRONG_ENOUGH:
            continue
        first_is, second_is = ("いました" if counter in ALIVE else "ありました" for counter in (first, second))
        for (one, other), number in product(zip(ones, others, strict=False), "二四五七九"):
            yield contrast(f"{one}{number}_{first_is}。", f"{other}{number}_{second_is}。", first, second)


def existence() -> Iterator[Group]:
    """犬がいる、箱がある。"""
    alive = ("犬", "ねこ", "鳥", "ねずみ", "カエル", "虫", "さる")
    things = ("箱", "いす", "かさ", "ぼうし", "かばん", "石", "ボール")
    for where, (one, thing), adjective in product(PLACES, zip(alive, things, strict=True), ("小さな", "大きな")):
        yield contrast(f"{where}に{adjective}{one}が_ました。", f"{where}に{adjective}{thing}が_ました。", "い", "あり")


def te_form() -> Iterator[Group]:
    """読んでから、読みながら。"""
    verbs = (
        ("本を", "読んで", "読み"),
        ("水を", "飲んで", "飲み"),
        ("パンを", "食べて", "食べ"),
        ("手紙を", "書いて", "書き"),
        ("話を", "聞いて", "聞き"),
        ("海を", "見て", "見"),
        ("絵を", "かいて", "かき"),
        ("手を", "あらって", "あらい"),
    )
    ends = (
        ("から、出かけました。", "ながら、待ちました。"),
        ("から、わらいました。", "ながら、わらいました。"),
        ("いました。", "に行きました。"),  # 「見てたい」は話しことばにあるので「たい」は使わない
    )
    for who, (thing, te, stem), (after_te, after_stem) in product(PEOPLE, verbs, ends):
        yield contrast(f"{who}は{thing}_{after_te}", f"{who}は{thing}_{after_stem}", te, stem)


def before_after() -> Iterator[Group]:
    """読む前に、読んだあとで。"""
    verbs = (
        ("本を", "読む", "読んだ"),
        ("水を", "飲む", "飲んだ"),
        ("パンを", "食べる", "食べた"),
        ("手紙を", "書く", "書いた"),
        ("話を", "聞く", "聞いた"),
        ("海を", "見る", "見た"),
        ("家に", "帰る", "帰った"),
        ("町に", "行く", "行った"),
    )
    then = ("歌を歌いました。", "手をあらいました。", "まどをしめました。", "ぼうしを取りました。")
    for who, (thing, plain, past), rest in product(PEOPLE, verbs, then):
        yield contrast(f"{who}は{thing}_前に、{rest}", f"{who}は{thing}_あとで、{rest}", plain, past)


def past_or_future() -> Iterator[Group]:
    """きのう行きました、あした行きます。"""
    times = (("きのう", "あした"), ("先週", "来週"), ("きのうの朝", "あしたの朝"), ("ゆうべ", "あしたの夜"))
    actions = (
        "学校に行き",
        "手紙を書き",
        "山に登り",
        "友だちに会い",
        "歌を歌い",
        "ケーキを食べ",
        "船に乗り",
        "海で泳ぎ",
    )
    for (before, after), who, action in product(times, PEOPLE, actions):
        yield contrast(f"{before}、{who}は{action}_。", f"{after}、{who}は{action}_。", "ました", "ます")


def polarity() -> Iterator[Group]:
    """だれも来ませんでした、やっと来ました。"""
    negative = [
        *(f"{who}{rest}" for who, rest in product(PEOPLE, ("しか来", "しかわらい", "は何も言い", "は何も食べ"))),
        *(f"{who}{rest}" for who, rest in product(PEOPLE, ("はだれにも会い", "は一度もわらい", "は何も買い"))),
        *(f"{where}{rest}" for where, rest in product(PLACES, ("にはだれもい", "では何も聞こえ"))),
    ]
    positive = [
        *(f"やっと{who}が{rest}" for who, rest in product(PEOPLE, ("来", "帰り", "わらい", "起き"))),
        *(
            f"{who}はやっと{rest}"
            for who, rest in product(PEOPLE, ("駅に着き", "かぎを見つけ", "本を読み", "町に帰り"))
        ),
        *(f"やっと{where}に{rest}" for where, rest in product(PLACES, ("着き",))),
    ]
    for first, second in zip(negative, positive, strict=False):
        yield contrast(f"{first}_。", f"{second}_。", "ませんでした", "ました")


def giving() -> Iterator[Group]:
    """わたしがあげる、わたしにくれる。"""
    others = ("友だち", "男の子", "女の子", "妹", "弟", "おばさん", "おじさん")
    things = ("花", "本", "りんご", "ぼうし", "ボール", "パン", "切手", "かさ", "えんぴつ", "みかん")
    for me, other, thing in product(("わたし", "ぼく"), others, things):
        yield contrast(f"{me}は{other}に{thing}を_ました。", f"{other}は{me}に{thing}を_ました。", "あげ", "くれ")


def adjectives() -> Iterator[Group]:
    """大きい箱、ふしぎな箱。"""
    words = (("大きい", "きれい"), ("古い", "ふしぎ"), ("新しい", "りっぱ"), ("白い", "すてき"), ("丸い", "へん"))
    things = ("箱", "花", "石", "かさ", "ぼうし", "時計")
    for (with_i, with_na), thing, where in product(words, things, ("庭", "部屋", "店", "台所", "教室")):
        yield contrast(
            f"{where}に{with_i}_{thing}がありました。", f"{where}に{with_na}_{thing}がありました。", "", "な"
        )


def question_particles() -> Iterator[Group]:
    """このケーキはだれが食べましたか。疑問の言葉に「は」は付かない。"""
    acts = (
        ("ケーキ", "食べました"),
        ("手紙", "書きました"),
        ("歌", "歌いました"),
        ("皿", "わりました"),
        ("かさ", "わすれました"),
        ("本", "読みました"),
        ("いす", "作りました"),
        ("絵", "かきました"),
        ("箱", "開けました"),
        ("時計", "直しました"),
        ("花", "くれました"),
        ("ボール", "なげました"),
        ("ぼうし", "買いました"),
        ("パン", "やきました"),
        ("茶わん", "わりました"),
        ("ランプ", "つけました"),
    )
    for this, (thing, act), asked in product(("この", "その", "あの"), acts, ("だれ", "どの子", "どの人")):
        yield swap(f"{this}{thing}_{asked}_{act}か。", "は", "が")
    for who, state in product(PEOPLE, ("見えました", "聞こえました", "ほしいのです", "こわいのです", "すきなのです")):
        yield swap(f"{who}_何_{state}か。", "は", "が")


JAPANESE = (
    Paradigm(
        "transitivity",
        "ja",
        "を with a transitive verb, が with its intransitive partner",
        "他動詞には「を」、自動詞には「が」",
        tuple(transitivity()),
    ),
    Paradigm("place", "ja", "に where something is, で where something is done", "いる所に、する所で", tuple(place())),
    Paradigm(
        "object_or_goal",
        "ja",
        "を marks the object, に the goal",
        "目的語は「を」、行き先は「に」",
        tuple(object_or_goal()),
    ),
    Paradigm(
        "copula",
        "ja",
        "だ before と思う, です after an い-adjective",
        "「と思う」の前は「だ」、い形容詞のあとは「です」",
        tuple(copula()),
    ),
    Paradigm("counters", "ja", "a noun chooses its counter", "数え方は名詞で決まる", tuple(counters())),
    Paradigm(
        "existence",
        "ja",
        "いる for what lives, ある for things",
        "生き物は「いる」、物は「ある」",
        tuple(existence()),
    ),
    Paradigm(
        "te_form",
        "ja",
        "て-form before から and いる, stem before ながら and に行く",
        "「から・いる」の前はて形、「ながら・に行く」の前は連用形",
        tuple(te_form()),
    ),
    Paradigm(
        "before_after",
        "ja",
        "plain form before 前に, past before あとで",
        "「前に」はる形、「あとで」はた形",
        tuple(before_after()),
    ),
    Paradigm(
        "past_or_future",
        "ja",
        "the tense agrees with the time",
        "時制は時の表現と合う",
        tuple(past_or_future()),
    ),
    Paradigm(
        "polarity",
        "ja",
        "しか, だれも, 何も with a negative verb, やっと with a positive one",
        "「しか・だれも・何も」は否定と、「やっと」は肯定と",
        tuple(polarity()),
    ),
    Paradigm(
        "giving",
        "ja",
        "あげる from me, くれる to me",
        "わたしから「あげる」、わたしに「くれる」",
        tuple(giving()),
    ),
    Paradigm(
        "adjectives",
        "ja",
        "な after a な-adjective only",
        "「な」が付くのはな形容詞だけ",
        tuple(adjectives()),
    ),
    Paradigm(
        "question_particles",
        "ja",
        "が after a question word, は after the topic",
        "疑問の言葉には「が」、題目には「は」",
        tuple(question_particles()),
    ),
)
"""The paradigms of Japanese."""
