"""A voter without a browser: a real session over Streamlit's websocket, so that fifty fit on one machine."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol


class Visitor:
    """Opens the arena and presses its buttons; used as an async context manager."""

    def __init__(
        self,
        address: str,
        cookie: str | None = None,
        source: str | None = None,
        page: str = "",
        **headers: str,
    ) -> None:
        """Of this `page`.

        `cookie`: fetched with the page if left out; `source`: own address; `headers`: of the handshake.
        """
        self._name = page
        self._address = address
        self.cookie = cookie
        self._headers = headers
        self._source = {"local_addr": (source, 0)} if source else {}
        self.issued = ""
        """The cookie that came with the handshake."""
        self.buttons: dict[str, str] = {}
        """Label -> widget id, of what is on the page now."""
        self.frames: list[bytes] = []
        """What the server sent since the last press."""
        self._page = ""
        self._socket: ClientConnection

    async def __aenter__(self) -> Visitor:
        if self.cookie is None:
            async with httpx.AsyncClient() as http:
                page = await http.get(self._address)
            self.cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        self._socket = await connect(
            self._address.replace("http://", "ws://") + "/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            additional_headers={"Cookie": self.cookie, **self._headers},
            max_size=None,
            **self._source,
        )
        assert self._socket.response is not None
        self.issued = self._socket.response.headers.get("Set-Cookie", "").partition(";")[0]
        await self._run()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._socket.close()

    async def press(self, label: str) -> None:
        """Press a button and wait until the page is drawn."""
        await self._run(self.buttons[label])

    async def _run(self, pressed: str | None = None) -> None:
        message = BackMsg()
        message.rerun_script.query_string = ""
        message.rerun_script.page_script_hash = self._page
        message.rerun_script.page_name = "" if self._page else self._name
        if pressed:
            widget = message.rerun_script.widget_states.widgets.add()
            widget.id, widget.trigger_value = pressed, True
        await self._socket.send(message.SerializeToString())
        self.frames, buttons = [], {}
        while True:
            frame = await self._socket.recv()
            assert isinstance(frame, bytes)
            self.frames.append(frame)
            answer = ForwardMsg.FromString(frame)
            if answer.WhichOneof("type") == "new_session":
                self._page = answer.new_session.page_script_hash
            button = _button(answer)
            if button is not None:
                buttons[button.label] = button.id
            if answer.WhichOneof("type") == "script_finished":
                self.buttons = buttons
                return


def _button(message: ForwardMsg) -> Any:
    if message.WhichOneof("type") == "delta" and message.delta.WhichOneof("type") == "new_element":
        element = message.delta.new_element
        return element.button if element.WhichOneof("type") == "button" else None
    return None
