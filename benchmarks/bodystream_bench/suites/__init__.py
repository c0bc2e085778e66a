"""One module per suite, each with `run(context)`."""
