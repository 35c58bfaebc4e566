"""A run's config: loaded from a file, read into typed values, and checked."""
