"""Tables, charts, one HTML page and Markdown."""
