"""lm-eval behind one function, and task files for local data."""
