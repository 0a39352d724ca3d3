"""`luthier forecast`: time, memory and cost of a run before they are spent."""
