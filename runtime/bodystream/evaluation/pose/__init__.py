"""How poses are judged: metrics, baselines that need no network training, and the evaluation loop."""
