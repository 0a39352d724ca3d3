"""Against forgetting: what holds a model near its base while it learns, and brings it back afterwards.

replay: general samples among the training rows. pull: L2-SP. distance: KL to the base, or the distance of features.
path: the weights between base and tuned. Each is nothing at all where its recipe key is at rest.
"""
