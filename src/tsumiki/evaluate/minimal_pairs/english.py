"""Twelve rules of English grammar, in the words of the stories that come with tsumiki.

Each function makes all groups of a paradigm out of its templates. A word may stand in a list only if every sentence
that it leads to is one that a story could hold.
"""

from collections.abc import Iterator
from itertools import product

from tsumiki.evaluate.minimal_pairs.paradigm import Group, Paradigm, contrast, swap

ANIMATE = (
    ("dog", "dogs"),
    ("cat", "cats"),
    ("boy", "boys"),
    ("bird", "birds"),
    ("robot", "robots"),
    ("duck", "ducks"),
    ("goat", "goats"),
    ("teacher", "teachers"),
    ("farmer", "farmers"),
    ("frog", "frogs"),
)
THINGS = (
    ("box", "boxes"),
    ("tree", "trees"),
    ("house", "houses"),
    ("table", "tables"),
    ("window", "windows"),
    ("door", "doors"),
    ("boat", "boats"),
    ("lamp", "lamps"),
    ("gate", "gates"),
    ("chair", "chairs"),
)
PREDICATES = (
    ("is", "are", "very tired"),
    ("is", "are", "asleep"),
    ("was", "were", "very quiet"),
    ("has", "have", "brown eyes"),
    ("sits", "sit", "in the sun"),
    ("waits", "wait", "for supper"),
    ("looks", "look", "at the moon"),
    ("sleeps", "sleep", "all day"),
    ("walks", "walk", "to the river"),
    ("sings", "sing", "every morning"),
    ("stands", "stand", "in the rain"),
)
PEOPLE = ("boy", "girl", "man", "woman", "farmer", "teacher", "robot", "captain")
MEN = ("The boy", "The man", "The king", "My brother", "My uncle", "My father", "My grandfather", "The old man")
WOMEN = ("The girl", "The woman", "The queen", "My sister", "My aunt", "My mother", "My grandmother", "The old woman")
SEVERAL = ("The boys", "The men", "The sisters", "The children", "The teachers", "The farmers", "The cats", "The dogs")
REFLEXIVE = (
    "saw _ in the mirror",
    "told _ a story",
    "hid _ behind the door",
    "asked _ the same question",
    "laughed at _",
    "looked at _ in the water",
    "made _ a cup of tea",
    "bought _ a new hat",
    "talked to _ all day",
    "washed _ in the river",
    "was very proud of _",
    "painted a picture of _",
    "could not help _",
)


def agreement() -> Iterator[Group]:
    """The dog is asleep."""
    for (one, many), (singular, plural, rest) in product(ANIMATE, PREDICATES):
        yield contrast(f"The {one} _ {rest}.", f"The {many} _ {rest}.", singular, plural)


def agreement_across() -> Iterator[Group]:
    """The dog near the trees is asleep."""
    for (one, many), (thing, things), place in product(ANIMATE, THINGS, ("near", "behind", "beside")):
        for singular, plural, rest in PREDICATES[1:8]:
            yield contrast(
                f"The {one} {place} the {things} _ {rest}.",
                f"The {many} {place} the {thing} _ {rest}.",
                singular,
                plural,
            )


def reflexive_gender() -> Iterator[Group]:
    """The girl saw herself in the mirror."""
    for (woman, man), action in product(zip(WOMEN, MEN, strict=True), REFLEXIVE):
        yield contrast(f"{woman} {action}.", f"{man} {action}.", "herself", "himself")


def reflexive_number() -> Iterator[Group]:
    """The boys saw themselves in the mirror."""
    one = [
        (man, "himself") if number % 2 else (woman, "herself")
        for number, (man, woman) in enumerate(zip(MEN, WOMEN, strict=True))
    ]
    for ((single, reflexive), several), action in product(zip(one, SEVERAL, strict=True), REFLEXIVE):
        plural = action.replace("was very", "were very")
        yield contrast(f"{single} {action}.", f"{several} {plural}.", reflexive, "themselves")


def a_an() -> Iterator[Group]:
    """She put an apple on the table."""
    nouns = (
        ("apple", "pear"),
        ("egg", "stone"),
        ("orange", "cake"),
        ("umbrella", "bag"),
        ("envelope", "letter"),
        ("old book", "new book"),
        ("old key", "small key"),
        ("old hat", "red hat"),
        ("old coat", "blue coat"),
        ("old map", "big map"),
        ("empty box", "big box"),
        ("empty cup", "blue cup"),
        ("empty bucket", "full bucket"),
    )
    frames = (
        "She put _ {} on the table.",
        "There was _ {} in the kitchen.",
        "He found _ {} under the bed.",
        "The boy needed _ {}.",
        "Grandma gave me _ {}.",
        "I saw _ {} by the door.",
        "The farmer had _ {} in his hand.",
        "She drew _ {} in the sand.",
    )
    for (with_an, with_a), frame in product(nouns, frames):
        yield contrast(frame.format(with_an), frame.format(with_a), "an", "a")


def tense_and_time() -> Iterator[Group]:
    """Yesterday the boy walked to school."""
    times = (
        ("Yesterday", "Tomorrow"),
        ("Last night", "Tomorrow night"),
        ("Yesterday morning", "Tomorrow morning"),
    )
    actions = (
        ("walked", "walk", "to the river"),
        ("slept", "sleep", "in the barn"),
        ("ate", "eat", "the last cake"),
        ("wrote", "write", "a long letter"),
        ("came", "come", "home late"),
        ("painted", "paint", "the fence"),
        ("cleaned", "clean", "the kitchen"),
        ("sang", "sing", "in the garden"),
    )
    for (before, after), (past, base, rest), who in product(times, actions, PEOPLE):
        yield contrast(f"{before} the {who} _ {rest}.", f"{after} the {who} _ {rest}.", past, f"will {base}")


IRREGULAR = (
    ("take", "took", "taken", "the last egg"),
    ("see", "saw", "seen", "the moon"),
    ("eat", "ate", "eaten", "the cake"),
    ("write", "wrote", "written", "a letter"),
    ("give", "gave", "given", "me a book"),
    ("go", "went", "gone", "home"),
    ("break", "broke", "broken", "the cup"),
    ("draw", "drew", "drawn", "a map"),
    ("throw", "threw", "thrown", "the ball"),
    ("begin", "began", "begun", "a new book"),
    ("wear", "wore", "worn", "a red hat"),
    ("hide", "hid", "hidden", "the key"),
    ("forget", "forgot", "forgotten", "the song"),
    ("speak", "spoke", "spoken", "to the teacher"),
    ("fall", "fell", "fallen", "asleep"),
)
OTHER_PARTICIPLES = (
    ("open", "opened", "the door"),
    ("close", "closed", "the window"),
    ("wash", "washed", "the cups"),
    ("find", "found", "the key"),
    ("hear", "heard", "the bell"),
    ("sleep", "slept", "all night"),
    ("carry", "carried", "the bag"),
)


def irregular_past() -> Iterator[Group]:
    """The boy took the last egg."""
    for number, ((_, past, participle, rest), who) in enumerate(product(IRREGULAR, PEOPLE)):
        auxiliary = ("has", "had", "had never")[number % 3]
        yield contrast(f"The {who} _ {rest}.", f"The {who} {auxiliary} _ {rest}.", past, participle)


def verb_form() -> Iterator[Group]:
    """The boy did not open the door."""
    verbs = [*OTHER_PARTICIPLES, *((base, participle, rest) for base, _, participle, rest in IRREGULAR)]
    auxiliaries = (("did not", "had not"), ("will", "has"))
    for (base, participle, rest), who, (before_base, before_participle) in product(verbs, PEOPLE, auxiliaries):
        yield contrast(
            f"The {who} {before_base} _ {rest}.", f"The {who} {before_participle} _ {rest}.", base, participle
        )


def pronoun_case() -> Iterator[Group]:
    """Then he helped the old man."""
    cases = (("he", "him"), ("we", "us"), ("they", "them"), ("I", "me"))
    verbs = ("helped", "saw", "heard", "followed", "called", "thanked", "found", "stopped")
    others = ("the old man", "the teacher", "the baker", "the captain", "the farmer")
    for (subject, object), verb, other, opening in product(cases, verbs, others, ("Then", "At last")):
        yield contrast(f"{opening} _ {verb} {other}.", f"{opening} {other} {verb} _.", subject, object)


def determiner_noun() -> Iterator[Group]:
    """She picked up this cup."""
    determiners = (("this", "these"), ("that", "those"), ("each", "both"))
    nouns = (
        ("cup", "cups"),
        ("hat", "hats"),
        ("book", "books"),
        ("bag", "bags"),
        ("key", "keys"),
        ("stone", "stones"),
        ("apple", "apples"),
        ("egg", "eggs"),
        ("flower", "flowers"),
        ("pencil", "pencils"),
        ("button", "buttons"),
        ("picture", "pictures"),
    )
    frames = (
        "She picked up _ {}.",
        "He looked at _ {} for a long time.",
        "The boy put _ {} on the table.",
        "Grandma liked _ {}.",
    )
    for (one, many), (noun, nouns_), frame in product(determiners, nouns, frames):
        yield contrast(frame.format(noun), frame.format(nouns_), one, many)


def question_order() -> Iterator[Group]:
    """Where was the boy going?"""
    questions = (
        ("Where", "going"),
        ("Where", "standing"),
        ("What", "doing"),
        ("What", "eating"),
        ("What", "looking at"),
        ("What", "waiting for"),
        ("What", "thinking about"),
        ("Why", "so quiet"),
        ("Why", "afraid of the dark"),
        ("Why", "running"),
        ("Why", "laughing"),
    )
    subjects = ("boy", "girl", "man", "woman", "dog", "cat", "teacher", "farmer", "captain", "robot")
    for number, ((word, rest), subject) in enumerate(product(questions, subjects)):
        knows = ("Nobody knew", "She knew", "He told me")[number % 3]
        yield contrast(
            f"{word} _ {rest}?", f"{knows} {word.lower()} _ {rest}.", f"was the {subject}", f"the {subject} was"
        )


def negative_polarity() -> Iterator[Group]:
    """That night no boy heard any birds."""
    openings = ("That night", "That day", "In the morning")
    seen = ("birds", "ducks", "goats", "frogs", "robots", "boats")
    for opening, one, verb, several in product(openings, PEOPLE, ("saw", "heard", "found"), seen):
        if f"{one}s" != several:
            yield swap(f"{opening} _ {one} {verb} _ {several}.", "no", "any")
    verbs = ("helped", "asked", "told", "followed", "stopped")
    for opening, verb, end in product((*openings, "In the end"), verbs, (".", " in the rain.", " again.")):
        yield swap(f"{opening} _ {verb} _{end}", "nobody", "anybody")


ENGLISH = (
    Paradigm("agreement", "en", "the verb agrees with its subject", "動詞は主語と数が一致する", tuple(agreement())),
    Paradigm(
        "agreement_across",
        "en",
        "the verb agrees with its subject, not with the nearest noun",
        "動詞は直前の名詞ではなく主語と一致する",
        tuple(agreement_across()),
    ),
    Paradigm(
        "reflexive_gender",
        "en",
        "a reflexive agrees in gender",
        "再帰代名詞は性が一致する",
        tuple(reflexive_gender()),
    ),
    Paradigm(
        "reflexive_number",
        "en",
        "a reflexive agrees in number",
        "再帰代名詞は数が一致する",
        tuple(reflexive_number()),
    ),
    Paradigm("a_an", "en", "an before a vowel", "母音の前では an", tuple(a_an())),
    Paradigm(
        "tense_and_time",
        "en",
        "the tense agrees with the time",
        "時制は時の表現と合う",
        tuple(tense_and_time()),
    ),
    Paradigm(
        "irregular_past",
        "en",
        "irregular past or participle",
        "不規則動詞の過去形と過去分詞",
        tuple(irregular_past()),
    ),
    Paradigm(
        "verb_form",
        "en",
        "base form or participle after an auxiliary",
        "助動詞のあとの原形と過去分詞",
        tuple(verb_form()),
    ),
    Paradigm("pronoun_case", "en", "pronouns have case", "代名詞の格", tuple(pronoun_case())),
    Paradigm(
        "determiner_noun",
        "en",
        "a determiner agrees with its noun",
        "限定詞は名詞と数が一致する",
        tuple(determiner_noun()),
    ),
    Paradigm(
        "question_order",
        "en",
        "inversion in direct questions only",
        "倒置は直接疑問文だけ",
        tuple(question_order()),
    ),
    Paradigm(
        "negative_polarity",
        "en",
        "any stands behind its negation",
        "any は否定語より後ろに置く",
        tuple(negative_polarity()),
    ),
)
"""The paradigms of English."""
