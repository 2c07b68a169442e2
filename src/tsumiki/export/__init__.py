"""Models in and out: formats that other tools read, and models that other tools wrote."""
