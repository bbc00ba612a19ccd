"""Reading, checking and formatting data sets; chat templates and loss masks."""

from toolkit.data.readers import Rows, load_columns, load_examples, load_groups, load_rows, split_heldout
from toolkit.data.rows import Conversation, Preference, Rated, Row, Text

__all__ = [
    "Conversation",
    "Preference",
    "Rated",
    "Row",
    "Rows",
    "Text",
    "load_columns",
    "load_examples",
    "load_groups",
    "load_rows",
    "split_heldout",
]
