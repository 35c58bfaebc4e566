"""From a split to batches: sampler, threads, workers."""
