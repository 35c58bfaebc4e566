"""Trains one network: state, step, loop and checkpoints."""
