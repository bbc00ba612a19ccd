"""Reading, checking and formatting data sets; chat templates and loss masks."""
