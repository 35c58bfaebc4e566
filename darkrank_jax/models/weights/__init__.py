"""Pretrained weights: what a file is, which network it fits, and how its tensors are named."""
