"""How a token is shown to people."""

from tsumiki.data import Tokenizer

VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\u3000": "□"}
"""What stands for white space."""


def token_label(tokenizer: Tokenizer, token: int) -> str:
    """A token's text with its white space made visible. Bytes that are only part of a character are shown in
    hexadecimal, as ‹E3 81›, and special tokens by the name ‹end›."""
    if token in tokenizer.special_ids:
        return "‹end›"
    data = tokenizer.token_bytes(token)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return f"‹{data.hex(' ').upper()}›"
    return "".join(VISIBLE.get(character, character if character.isprintable() else "·") for character in text)
