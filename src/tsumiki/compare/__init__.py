"""Compare: arms that differ in nothing but what is asked about."""
