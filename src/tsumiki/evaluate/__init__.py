"""How good a model is: figures on held-out text."""
