"""The language model that adds to prompts: one for the server, asked by one after the other."""
