"""Distil large metric-learning networks into small ones: DarkRank and beyond, in JAX.

`from darkrank_jax import losses` needs jax alone; everything else needs requirements.txt.
"""

__version__ = "0.1.0"
