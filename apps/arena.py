"""The arena's entry: the pages and the frame around them."""

from __future__ import annotations

import streamlit as st

from apps import leaderboard, vote, yours
from apps.look import ICON, STYLE

st.set_page_config(page_title="Arena", page_icon=ICON, layout="wide")
st.html(STYLE)

pages = [
    st.Page(vote.page, title="Vote", url_path="vote", default=True),
    st.Page(yours.page, title="Your votes", url_path="yours"),
    st.Page(leaderboard.page, title="Leaderboard", url_path="leaderboard"),
]
st.navigation(pages, position="top").run()
