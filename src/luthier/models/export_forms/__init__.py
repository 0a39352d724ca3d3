"""Forms of a trained model for other tools, each checked against the tuned model before it is published."""
