"""Bytes that are data: atomic writes, archives, YAML; nothing here knows of agents."""
