"""Results to other programs while they are made: what `--send` takes, and the sinks of sessions that it makes."""
