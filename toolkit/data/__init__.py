"""Reading, checking and formatting data sets; chat templates and loss masks."""

from toolkit.data.formats import Conversation, Preference, Rated, Row, Text
from toolkit.data.readers import Rows, load_columns, load_examples, load_groups, load_rows, split_heldout

__all__ = ["Conversation", "Preference", "Rated", "Row", "Rows", "Text"]
__all__ += ["load_columns", "load_examples", "load_groups", "load_rows", "split_heldout"]
