"""The version, in a place of its own: every layer may record it, and the build reads it from here."""

__version__ = "0.1.0"
