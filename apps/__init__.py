"""The arena in the browser: Streamlit pages that only draw; the rest is `toolkit.arena`'s."""
