"""tsumiki minimal pairs: does a model find the right sentence likelier than the wrong one?

25 rules of English and Japanese grammar, 200 pairs each, in words of simple stories. As BLiMP (arXiv 1912.00582), but
BLiMP's words are not those of children's stories, and there is no such set for Japanese.
"""

from tsumiki.evaluate.minimal_pairs.english import ENGLISH
from tsumiki.evaluate.minimal_pairs.japanese import JAPANESE
from tsumiki.evaluate.minimal_pairs.paradigm import Pair, Paradigm
from tsumiki.evaluate.minimal_pairs.score import score_pairs, shortness_scorer, unigram_scorer

PARADIGMS = (*ENGLISH, *JAPANESE)
"""All paradigms. Names are unique."""

__all__ = ["ENGLISH", "JAPANESE", "PARADIGMS", "Pair", "Paradigm", "score_pairs", "shortness_scorer", "unigram_scorer"]
