"""OpenAI's wire, `/v1`: what the unmodified `openai` client sends and must get back."""
