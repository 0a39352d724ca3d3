"""The workshop: what was asked for is kept, queued, run by a worker of its own, and never lost."""
