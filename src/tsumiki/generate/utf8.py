"""Valid UTF-8 while it is being written: which tokens may follow, given the bytes so far.

A token of a byte-level vocabulary may end within a character, and an unlucky choice makes bytes that are no text. The
table here is a finite automaton (Unicode 16, table 3-7: well-formed byte sequences) over whole tokens: one row a state,
one column a token. Looking up the row masks the scores, looking up the token gives the next state.
"""

import torch
from torch import Tensor

from tsumiki.data.tokenizer import Tokenizer
from tsumiki.errors import UserError

START = 0
"""Between two characters."""
FREE = 8
"""Of a row that may write what it likes: every token leads back here."""
NEVER = -1
"""No state: the token would make the text invalid."""

_ANY = (0x80, 0xBF)
_TAILS: dict[int, tuple[tuple[int, int], int]] = {
    1: (_ANY, START),
    2: (_ANY, 1),
    3: (_ANY, 2),
    4: ((0xA0, 0xBF), 1),  # after E0: below, the character would have fitted into two bytes
    5: ((0x80, 0x9F), 1),  # after ED: above are surrogates
    6: ((0x90, 0xBF), 2),  # after F0: below, three bytes would have done
    7: ((0x80, 0x8F), 2),  # after F4: above, Unicode ends
}
"""State -> the bytes that may come next, and the state that they lead to."""


def _first(byte: int) -> int:
    if byte < 0x80:
        return START
    special = {0xE0: 4, 0xED: 5, 0xF0: 6, 0xF4: 7}
    if byte in special:
        return special[byte]
    for low, high, state in ((0xC2, 0xDF, 1), (0xE1, 0xEF, 2), (0xF1, 0xF3, 3)):
        if low <= byte <= high:
            return state
    return NEVER


def after(state: int, data: bytes) -> int:
    """The state after some bytes, NEVER if they are not valid there."""
    for byte in data:
        if state == START:
            state = _first(byte)
        elif state != NEVER:
            (low, high), then = _TAILS[state]
            state = then if low <= byte <= high else NEVER
    return state


def transitions(tokenizer: Tokenizer) -> Tensor:
    """[9, V]: the state after a token, for every state; NEVER where the token may not follow.

    Special tokens stand between characters, so no text ends with half of one.

    Raises:
        UserError: after some state no token may follow, because the vocabulary lacks single bytes.
    """
    specials = tokenizer.special_ids
    table = torch.full((FREE + 1, tokenizer.vocab_size), NEVER, dtype=torch.int64)
    table[FREE] = FREE
    for token in range(tokenizer.vocab_size):
        if token in specials:
            table[START, token] = START
        elif data := tokenizer.token_bytes(token):
            for state in range(FREE):
                table[state, token] = after(state, data)
    if not bool((table != NEVER).any(dim=1).all()):
        raise UserError(
            "The tokenizer has no tokens for single bytes, so a character that was begun cannot always be ended; "
            "leave valid_utf8 out."
        )
    return table
