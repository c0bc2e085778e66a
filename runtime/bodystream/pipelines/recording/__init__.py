"""Recording to takes: beside a session, alone, and from one file format to another."""
