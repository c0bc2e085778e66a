"""Sessions whose results are sent to pages and programs by one server."""
