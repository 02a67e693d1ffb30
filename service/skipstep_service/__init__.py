"""Images and videos over HTTP: what is accepted is done exactly once, and cached requests share batches."""
