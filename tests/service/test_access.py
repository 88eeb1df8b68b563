"""The access guard in front of a small real app: names, token, cookies, sockets, headers."""

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from crystal_core.service.access import CLIENT, CLIENT_HEADER, NO_ID, AccessGuard

STREAM = "ws://127.0.0.1:8501/_stcore/stream"
TOKEN = "correct-horse-battery"


async def page(request):
    return HTMLResponse(f"<p>{request.headers[CLIENT_HEADER]}</p>")


async def media(_request):
    return PlainTextResponse("a crystal", headers={"X-Frame-Options": "ALLOWALL"})


async def stream(socket):
    await socket.accept()
    await socket.send_text(socket.headers[CLIENT_HEADER])
    await socket.close()


ROUTES = [
    Route("/", page),
    Route("/history", page),
    Route("/media/x.cif", media),
    WebSocketRoute("/_stcore/stream", stream),
]


def browser(base="http://127.0.0.1:8501", **settings):
    return TestClient(AccessGuard(Starlette(routes=ROUTES), **settings), base, follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/media/x.cif", "/nothing-here"])
def test_every_answer_forbids_frames_other_servers_and_guessed_types(path):
    headers = browser().get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert policy["default-src"] == "'self'" and "unsafe" not in policy["script-src"]
    assert not [sources for sources in policy.values() if "http" in sources or "*" in sources]


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:8501",
        "127.0.0.1.rebound.example",
        "x@localhost",
        "",
        "localhost/.rebound.example",
    ],
)
def test_a_foreign_name_reaches_no_route_and_no_socket(host):
    visitor = browser()
    answer = visitor.get("/media/x.cif", headers={"Host": host})
    assert answer.status_code == 421 and "a crystal" not in answer.text and answer.text.count("\n") == 1
    with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(STREAM, headers={"Host": host}):
        pass


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8501", "[::1]:8501", "10.3.2.1", "localhost:1", "LAB-7.example:8501"]
)
def test_numbers_localhost_and_given_names_are_answered(host):
    assert browser(names=["lab-7.example"]).get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/media/x.cif", "/_stcore/health"])
def test_without_the_token_no_route_answers(path):
    answer = browser(token=TOKEN).get(path)
    assert (
        answer.status_code == 401
        and "protected by a token" in answer.text
        and "set-cookie" not in answer.headers
    )


def test_a_socket_needs_the_cookie_and_takes_no_token_in_its_address():
    visitor = browser(token=TOKEN)
    for path in (STREAM, f"{STREAM}?token={TOKEN}"):
        with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(path):
            pass
    visitor.get(f"/?token={TOKEN}")
    with visitor.websocket_connect(STREAM) as socket:
        assert socket.receive_text() == NO_ID


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ö"])
def test_a_wrong_token_is_one_sentence_and_opens_nothing(wrong):
    visitor = browser(token=TOKEN)
    answer = visitor.get("/", params={"token": wrong})
    assert answer.status_code == 403 and "The token in this link is wrong" in answer.text
    assert visitor.get("/").status_code == 401
    assert visitor.get("/", headers={"Authorization": f"Bearer {wrong}".encode()}).status_code == 401


def test_the_link_opens_the_app_once_and_for_all_and_leaves_no_token_behind():
    visitor = browser(token=TOKEN)
    answer = visitor.get(f"/history?job=3&token={TOKEN}&a=%26b")
    assert answer.status_code == 303 and answer.headers["Location"] == "/history?job=3&a=%26b"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and TOKEN not in cookie
    assert visitor.get("/history").status_code == visitor.get("/media/x.cif").status_code == 200
    assert browser(token=TOKEN).get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_cookie_of_one_token_does_not_open_an_app_with_another():
    visitor, other = browser(token=TOKEN), browser(token=TOKEN + "2")
    visitor.get(f"/?token={TOKEN}")
    other.cookies = visitor.cookies
    assert other.get("/").status_code == 401


def test_the_way_in_does_not_lead_to_another_server():
    answer = browser(token=TOKEN).get(f"http://127.0.0.1:8501//evil.example/?token={TOKEN}")
    assert answer.status_code == 303 and answer.headers["Location"].startswith("/evil.example")


def test_a_page_gives_each_browser_an_id_of_its_own_that_stays():
    one, two = browser(), browser()
    assert one.get("/media/x.cif").cookies.get(CLIENT) is None  # pages alone: files are cached and shared
    assert one.get("/").text == f"<p>{NO_ID}</p>"  # it comes with this answer
    first, second = one.get("/").text, one.get("/history").text
    two.get("/")
    assert first == second != two.get("/").text
    assert len(first) == len("<p></p>") + 32 and one.cookies[CLIENT] not in first
    with one.websocket_connect(STREAM) as socket:
        assert f"<p>{socket.receive_text()}</p>" == first


@pytest.mark.parametrize("forged", ["", "a", "x" * 23, "' or 1 = 1 --          ", "../../../../etc/passwd"])
def test_an_id_that_this_app_did_not_give_counts_as_none_and_is_replaced(forged):
    visitor = browser()
    visitor.cookies.set(CLIENT, forged)
    answer = visitor.get("/")
    assert answer.text == f"<p>{NO_ID}</p>" and CLIENT in answer.headers["Set-Cookie"]


def test_nobody_passes_for_another_browser_by_sending_its_id():
    one, two = browser(), browser()
    one.get("/")
    theirs = one.get("/").text.removeprefix("<p>").removesuffix("</p>")
    two.cookies.set(CLIENT, theirs)
    assert theirs not in two.get("/", headers={CLIENT_HEADER: theirs, CLIENT_HEADER.upper(): theirs}).text


def test_cookies_over_https_never_travel_unencrypted():
    visitor = browser("https://127.0.0.1:8501", token=TOKEN)
    assert "Secure" in visitor.get(f"/?token={TOKEN}").headers["Set-Cookie"]
    assert "Secure" in visitor.get("/").headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://127.0.0.1:8501", True),
        ("https://lab.example", True),  # a proxy that speaks to the app by its number
        ("http://localhost:3000", False),
        ("http://127.0.0.1:8502", False),
        ("http://evil.example", False),
        ("http://127.0.0.1:8501.evil.example", False),
        ("http://[", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_socket_is_opened_by_the_apps_own_pages_alone(origin, is_own):
    visitor = browser(names=["lab.example"])
    if is_own:
        with visitor.websocket_connect(STREAM, headers={"Origin": origin}) as socket:
            assert socket.receive_text() == NO_ID
        return
    with (
        pytest.raises(WebSocketDisconnect),
        visitor.websocket_connect(STREAM, headers={"Origin": origin}),
    ):
        pass
