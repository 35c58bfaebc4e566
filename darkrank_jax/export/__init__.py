"""The network out of the laboratory: files for other runtimes, embeddings of any images, search."""
