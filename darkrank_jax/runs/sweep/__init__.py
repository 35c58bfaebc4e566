"""Many runs as one: a grid over seeds, the processes of its runs, and their table."""
