"""What the commands do: train, evaluate, compare, inspect data, plan."""
