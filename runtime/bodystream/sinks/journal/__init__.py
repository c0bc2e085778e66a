"""A journal: what a session recorded, on disk while it goes on, so that whatever ends it loses less than a second.

A file begins with `MAGIC`, a line that says what it is. Records follow (`journal.records`), which are only ever
appended. What was cut off or damaged is passed over: a reader goes on at the next whole record.
"""

from bodystream.sinks.journal.reader import JournalReader
from bodystream.sinks.journal.records import MAGIC, Record, encode_record
from bodystream.sinks.journal.writer import JournalWriter, is_being_written, session_name

__all__ = ["MAGIC", "JournalReader", "JournalWriter", "Record", "encode_record", "is_being_written", "session_name"]
