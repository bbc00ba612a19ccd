"""Streamlit pages of the arena: display only; the logic is in `toolkit.arena`."""
