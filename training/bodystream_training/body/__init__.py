"""The disentangled embedding of human bodies (DHNN): data, network, training, evaluation."""
