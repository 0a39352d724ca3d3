"""`luthier auto`: model, method and hyperparameters chosen within a time budget."""
