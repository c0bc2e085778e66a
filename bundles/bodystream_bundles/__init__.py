"""A place for bundles of bodystream; there is no code here."""
