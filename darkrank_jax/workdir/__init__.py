"""What a run leaves on disk beside its checkpoints, and whether another run may continue there."""
