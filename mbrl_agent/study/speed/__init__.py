"""How long a gradient step takes, next to its matrix products alone."""
