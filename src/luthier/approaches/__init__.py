"""Prompt, retrieval, assistant, tuned model: each answers rows, and is judged and chosen by the same words."""
