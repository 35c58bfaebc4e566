"""Training: a run's plain config, its state, its step, its loop, its checkpoints, its teacher."""
