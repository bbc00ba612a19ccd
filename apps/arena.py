"""The arena's entry: the pages and the frame around them."""

from __future__ import annotations

import streamlit as st

from apps import admin, ask, compare, leaderboard, my_votes, vote
from apps.session import has_admins
from apps.settings import Settings
from apps.theme import ICON, STYLE

st.set_page_config(page_title="Arena", page_icon=ICON, layout="wide")
st.html(STYLE)

pages = [
    st.Page(vote.page, title="Vote", default=True),
    st.Page(my_votes.page, title="Your votes", url_path="yours"),
    st.Page(leaderboard.page, title="Leaderboard", url_path="leaderboard"),
    st.Page(compare.page, title="Compare", url_path="compare"),
]
if Settings.from_environment().ask:
    pages.insert(1, st.Page(ask.page, title="Ask", url_path="ask"))
if has_admins():
    pages.append(st.Page(admin.page, title="Admin", url_path="admin"))
st.navigation(pages, position="top").run()
