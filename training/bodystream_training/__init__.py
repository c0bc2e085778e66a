"""Training of bodystream's networks and baking of its assets; needs PyTorch, which the runtime never does."""
