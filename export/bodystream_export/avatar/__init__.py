"""The clothed avatar: from a training run to a bundle that is posed without PyTorch."""
