"""Evaluation of embeddings: retrieval, clustering, speed, and a report of it all."""
