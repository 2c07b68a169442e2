"""tsumiki (積み木): build small language models block by block, and prove that they are trained correctly."""
