"""`/luthier/v1`: what OpenAI has no word for."""
