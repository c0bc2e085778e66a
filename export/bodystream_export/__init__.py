"""From trained networks to bundles: ONNX graphs, parity checks, manifests."""
