"""Trained networks in use: load, embed, search."""
