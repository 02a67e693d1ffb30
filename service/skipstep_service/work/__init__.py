"""The queue, and the thread that owns the models."""
