"""The one kind of error that a person can mend."""


class UserError(Exception):
    """A mistake in what the user gave us: a file, a key, a value.

    The message is the sentence the user will see. It names the file, key or value and the way out, and stands alone:
    the command line prints it without a traceback and exits with code 2. Programming errors are never wrapped in it.
    """
