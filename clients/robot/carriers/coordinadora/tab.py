"""A page of the portal in the browser."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from playwright.async_api import Dialog, Frame, Page, Request, Response
from playwright.async_api import Error as PlaywrightError

from clients.robot.carrier import PortalError, PortalUnavailable, SessionLost
from clients.robot.carriers.pedidos import PANEL_PATH


class Tab:
    """A page, with what it has sent since the last `listen`, and what has become of it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.needs_panel = False
        """Whether it is to be logged in: from the end of the login on."""
        self.is_doubtful = False
        """Whether something in it has not worked: it may hang."""
        self.trouble: PortalError | None = None
        """Why nothing can be done in it any more."""
        self.ended = asyncio.Event()
        """Set with `trouble`."""
        self.status = 200
        """Of the page's own document."""
        self.sent: list[Request] = []
        """What asked for a change, such as a form."""
        self.answers: dict[Request, Response] = {}
        """To what was sent."""
        self.failed: set[Request] = set()
        self.under_way: set[Request] = set()
        """Whatever the page's scripts have asked for and not heard about."""
        page.on("crash", lambda _: self._end(PortalUnavailable("The browser's page has crashed.")))
        page.on("close", lambda _: self._end(PortalUnavailable("The browser has ended.")))
        page.on("dialog", self._dismiss)
        page.on("framenavigated", self._look_where)
        page.on("request", self._see_request)
        page.on("response", self._see_response)
        page.on("requestfinished", self._see_end)
        page.on("requestfailed", self._see_failure)

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def listen(self) -> None:
        self.sent.clear()
        self.answers.clear()
        self.failed.clear()

    async def visit(self, url: str | None = None) -> None:
        """Load that page, or the same again.  Raises SessionLost and PortalUnavailable."""
        self.under_way.clear()
        if url is None:
            answer = await self.page.reload(wait_until="domcontentloaded")
        else:
            answer = await self.page.goto(url, wait_until="domcontentloaded")
        self.check()
        if answer is not None and not answer.ok:
            raise PortalUnavailable(f"The portal answers {answer.status} {answer.status_text}.")

    @property
    def has_only_failed(self) -> bool:
        """Of what was sent nothing has been answered, and nothing will be."""
        return bool(self.sent) and all(each in self.failed for each in self.sent)

    def was_sent_to_login(self, request: Request) -> bool:
        answer = self.answers.get(request)
        if answer is None:
            return False
        if 300 <= answer.status < 400:
            return not is_in_panel(answer.headers.get("location", ""))
        return answer.status in {401, 403}

    def _end(self, trouble: PortalError) -> None:
        if self.trouble is None:
            self.trouble = trouble
            self.ended.set()

    def _look_where(self, frame: Frame) -> None:
        if self.needs_panel and frame == self.page.main_frame and not is_in_panel(frame.url):
            self._end(SessionLost("The portal asks for a login."))

    def _see_request(self, request: Request) -> None:
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            self.sent.append(request)
        if request.resource_type in {"xhr", "fetch"}:
            self.under_way.add(request)

    def _see_response(self, answer: Response) -> None:
        if answer.request in self.sent:
            self.answers[answer.request] = answer
        if answer.request.is_navigation_request() and answer.frame == self.page.main_frame:
            self.status = answer.status

    def _see_end(self, request: Request) -> None:
        self.under_way.discard(request)

    def _see_failure(self, request: Request) -> None:
        self.under_way.discard(request)
        self.failed.add(request)

    async def _dismiss(self, dialog: Dialog) -> None:
        """A browser's own question: to leave a half-filled form is right, anything else was not asked for."""
        with suppress(PlaywrightError):
            await (dialog.accept() if dialog.type == "beforeunload" else dialog.dismiss())


def is_in_panel(url: str) -> bool:
    """By its path: a login page may carry in its query where it leads to."""
    return PANEL_PATH in urlsplit(url).path
