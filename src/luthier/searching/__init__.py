"""`luthier search`: where the room `search` meets training."""
