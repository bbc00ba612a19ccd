"""Entry point of the Streamlit app: page configuration and navigation."""

from __future__ import annotations

import logging

import streamlit as st

from apps import admin, ask, compare, leaderboard, vote
from apps.session import has_admins
from apps.settings import ICON, STYLE, Settings
from toolkit.errors import ToolkitError

st.set_page_config(page_title="Arena", page_icon=ICON, layout="wide")
st.html(STYLE)

live = Settings.from_environment().ask
pages = [
    st.Page(vote.page, title="Vote", default=True),
    *([st.Page(ask.page, title="Ask", url_path="ask")] if live else []),
    st.Page(vote.history_page, title="Your votes", url_path="yours"),
    st.Page(leaderboard.page, title="Leaderboard", url_path="leaderboard"),
    st.Page(compare.page, title="Compare", url_path="compare"),
    *([st.Page(ask.try_page, title="Try", url_path="try")] if live and has_admins() else []),
    *([st.Page(admin.page, title="Admin", url_path="admin")] if has_admins() else []),
]
chosen = st.navigation(pages, position="hidden")
with st.container(key="menu", horizontal=True, gap="small"):  # no menu to open, nor to close, on a phone
    for page in pages:
        st.page_link(page)
try:
    chosen.run()
except ToolkitError as error:  # such as a database that is down; the message may name places
    logging.getLogger("apps").error("a page could not be drawn", exc_info=error)
    st.error("The arena cannot reach its votes just now. Nothing is lost: try again in a moment.")
