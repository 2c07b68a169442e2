"""How fast texts are written: measured beside its bound, and beside other tools on the same weights."""
