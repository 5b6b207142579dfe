"""Rows 36 to 47 of reliability.md: HTTP itself, through raw sockets.

Three rows end otherwise than the table asks, because the HTTP server (granian on hyper) decides them before the
gateway sees anything; each is as safe, and says so beside it: Content-Length with Transfer-Encoding, bare LF, and a
header that comes too slowly.
"""

import gzip
import threading
import time

import pytest

from tests.client.live import LiveGateway, statuses
from tests.fakes.triton import sleeps
from tests.hostile.conftest import GOOD, GOOD_ANSWER, HEADER_SECONDS

MIB = 1024 * 1024
HEAD = b"POST /service HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(GOOD)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def smuggled(gateway):
    """Whether a second request was taken out of the first one's body."""
    return [line for line in gateway.lines() if line.get("method") == "GET" and line["route"] == "none"]


# Row 36


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "image/png"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
    ids=["row36-none", "row36-text", "row36-wrong", "row36-form"],
)
def test_the_body_decides_and_not_its_type(gateway, headers):
    reply = gateway.post("/service", GOOD, headers)
    assert (reply.status, reply.text) == (200, GOOD_ANSWER)


def test_row36_multipart(gateway, fake):
    assert gateway.post("/service", GOOD, {"Content-Type": "multipart/form-data; boundary=x"}).status == 415
    assert not fake.calls


# Row 37


@pytest.mark.parametrize(
    "body", [gzip.compress(GOOD), gzip.compress(bytes(256 * MIB), 9)], ids=["row37-gzip", "row37-gzip-bomb"]
)
def test_an_encoded_body_is_not_inflated(gateway, fake, body):
    assert gateway.post("/service", body, {"Content-Encoding": "gzip"}).status == 415
    assert not fake.calls


# Row 38


def test_row38_expect_is_answered_with_100_and_then_200(gateway):
    with gateway.connect() as connection:
        connection.sendall(HEAD + LENGTH + CLOSE + b"Expect: 100-continue\r\n\r\n")
        assert statuses(connection.recv(65536)) == [100]
        connection.sendall(GOOD)
        assert connection.recv(65536).endswith(GOOD_ANSWER.encode())


@pytest.mark.parametrize(
    "extra",
    [b"Content-Length: %d\r\n" % (16 * MIB + 1), LENGTH + b"Content-Encoding: gzip\r\n"],
    ids=["row38-too-large", "row38-encoded"],
)
def test_what_is_refused_is_refused_without_100(gateway, extra):
    (status,) = statuses(gateway.exchange(HEAD + extra + b"Expect: 100-continue\r\n\r\n"))
    assert status in (413, 415)


# Row 39


def test_row39_chunks(gateway):
    assert gateway.post("/service", [GOOD[:1], GOOD[1:100], GOOD[100:]]).text == GOOD_ANSWER


def test_row39_65537_chunks_of_a_byte(fake):
    """Refused once there are too many, though all but the first are blanks, which JSON may end in; never waited out,
    so that a caller who goes on sending may be cut off before reading why."""
    good = b"%x\r\n%s\r\n" % (len(GOOD), GOOD)
    crumbs = b"1\r\n \r\n" * 65_537 + b"0\r\n\r\n"
    with LiveGateway(fake.url, FACE_DEADLINE_SECONDS=60) as patient:  # whose deadline is not what ends it
        received = patient.exchange(HEAD + CHUNKED + b"\r\n" + good + crumbs)
        assert statuses(received) in ([400], [])
        assert not received or b"body_in_crumbs" in received
        assert not fake.calls
        assert patient.post("/service", GOOD).text == GOOD_ANSWER


def test_row39_chunks_over_the_limit(gateway, fake):
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    assert statuses(gateway.exchange(HEAD + CHUNKED + b"\r\n" + chunk * 257))[:1] == [413]
    assert not fake.calls


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"zz\r\n" + GOOD + b"\r\n0\r\n\r\n", id="row39-bad-size"),
        pytest.param(b"-1\r\n" + GOOD + b"\r\n0\r\n\r\n", id="row39-negative-size"),
        pytest.param(b"ffffffffffffffffff\r\n" + GOOD, id="row39-overflowing-size"),
        pytest.param(b"%x\r\n%sXX0\r\n\r\n" % (len(GOOD), GOOD), id="row39-bad-terminator"),
        pytest.param(b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(GOOD), b"a" * 40_000, GOOD), id="row39-long-extension"),
        pytest.param(b"%x\n%s\n0\n\n" % (len(GOOD), GOOD), id="row39-bare-lf"),
    ],
)
def test_a_broken_chunk_is_400_and_close(gateway, fake, chunks):
    assert statuses(gateway.exchange(HEAD + CHUNKED + b"\r\n" + chunks + SECOND)) == [400]
    assert not fake.calls
    assert not smuggled(gateway)


@pytest.mark.parametrize("half_close", [False, True], ids=["row39-no-last-chunk", "row39-no-last-chunk-and-gone"])
def test_no_last_chunk(gateway, fake, half_close):
    part = HEAD + CHUNKED + b"\r\n%x\r\n%s\r\n" % (len(GOOD), GOOD)
    assert statuses(gateway.exchange(part, half_close=half_close)) == [400 if half_close else 408]
    assert not fake.calls


# Row 40


def test_row40_a_length_of_the_limit_is_taken_and_one_more_is_not(gateway):
    filler = GOOD[:-1] + b" " * (16 * MIB - len(GOOD)) + GOOD[-1:]
    assert gateway.post("/service", filler).text == GOOD_ANSWER
    assert gateway.post("/service", filler[:-1] + b" }").status == 413


@pytest.mark.parametrize("length", [b"-1", b"+5", b"5, 6", b"5,5", b"0x5", b"", b"5 5", b"9" * 30, b"\xb2"], ids=repr)
def test_row40_a_bad_length_is_400_and_close(gateway, fake, length):
    received = gateway.exchange(HEAD + b"Content-Length: " + length + b"\r\n\r\n" + GOOD + SECOND)
    assert statuses(received) == [400]
    assert not fake.calls


def test_row40_two_lengths_that_differ(gateway, fake):
    assert statuses(gateway.exchange(HEAD + LENGTH + b"Content-Length: 5\r\n\r\n" + GOOD)) == [400]
    assert not fake.calls


# Row 41


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(HEAD + b"Transfer-Encoding: xchunked\r\n", id="row41-xchunked"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked, identity\r\n", id="row41-chunked-not-last"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n", id="row41-gzip-chunked"),
        pytest.param(HEAD + CHUNKED + CHUNKED, id="row41-chunked-twice"),
        pytest.param(HEAD + b"Transfer-Encoding : chunked\r\n", id="row41-space-before-colon"),
        pytest.param(HEAD + b"X: a\r\n b\r\n" + CHUNKED, id="row41-folded"),
        pytest.param(HEAD + b"Transfer-Encoding:\x0bchunked\r\n", id="row41-vertical-tab"),
        pytest.param(b"POST /service HTTP/1.0\r\nHost: x\r\n" + CHUNKED, id="row41-chunked-in-1.0"),
    ],
)
def test_a_smuggling_form_is_400_and_close(gateway, fake, head):
    assert statuses(gateway.exchange(head + b"\r\n" + CHUNKS + SECOND)) == [400]
    assert not fake.calls
    assert not smuggled(gateway)


@pytest.mark.parametrize("both", [LENGTH + CHUNKED, CHUNKED + b"Content-Length: 4\r\n"], ids=["cl-te", "te-cl"])
def test_row41_a_length_beside_chunks_is_ignored_and_the_connection_closed(gateway, both):
    """RFC 9112 6.1 lets a server refuse this or take the chunks and close: hyper does the second."""
    received = gateway.exchange(HEAD + both + b"\r\n" + CHUNKS + SECOND)
    assert statuses(received) == [200]
    assert received.endswith(GOOD_ANSWER.encode())
    assert not smuggled(gateway)


def test_row41_bare_lf_ends_a_line_and_smuggles_nothing(gateway):
    """RFC 9112 2.2 lets a server take a bare LF for a line end: hyper does. nginx in front refuses it."""
    head = b"POST /service HTTP/1.1\nHost: x\nConnection: close\nContent-Length: %d\n\n" % len(GOOD)
    assert statuses(gateway.exchange(head + GOOD + SECOND)) == [200]
    assert not smuggled(gateway)


# Row 42


def test_row42_a_short_body_and_gone_reaches_nothing(gateway, fake):
    part = HEAD + b"Content-Length: %d\r\n\r\n" % (len(GOOD) + 1) + GOOD
    assert statuses(gateway.exchange(part, half_close=True)) == [400]
    assert not fake.calls


def test_row42_what_follows_the_body_is_not_run(gateway, fake):
    received = gateway.exchange(HEAD + LENGTH + b"\r\n" + GOOD + b"rubbish\r\n\r\n")
    assert statuses(received) == [200, 400]
    assert len(fake.calls) == 1


# Row 43


def drip(connection, data, stop):
    """Send a byte each second until the other side cuts it off; the seconds that took."""
    start = time.monotonic()
    try:
        for byte in data:
            connection.sendall(bytes([byte]))
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                try:
                    connection.settimeout(end - time.monotonic())
                    if not connection.recv(65536):
                        return time.monotonic() - start
                except (TimeoutError, ValueError):
                    break
            if stop.is_set():
                break
    except OSError:
        return time.monotonic() - start
    return None


def test_row43_a_header_of_a_byte_a_second_is_cut_off(gateway):
    with gateway.connect() as connection:
        seconds = drip(connection, HEAD, threading.Event())
    assert seconds is not None
    assert seconds < HEADER_SECONDS + 1.5


def test_row43_a_header_after_an_answer_is_cut_off_too(gateway):
    with gateway.connect() as connection:
        connection.sendall(HEAD + LENGTH + b"\r\n" + GOOD)
        connection.recv(65536)
        seconds = drip(connection, HEAD, threading.Event())
    assert seconds is not None
    assert seconds < HEADER_SECONDS + 1.5


def test_row43_a_body_of_a_byte_a_second_is_408(gateway, fake):
    start = time.monotonic()
    received = gateway.exchange(HEAD + LENGTH + b"\r\n", *[part for byte in GOOD[:6] for part in (bytes([byte]), 1.0)])
    assert statuses(received) == [408]
    assert time.monotonic() - start < 8
    assert not fake.calls


@pytest.mark.parametrize("rate", [0, 1], ids=["row43-reads-nothing", "row43-reads-a-byte-a-second"])
def test_a_slow_reader_is_cut_off(gateway, rate):
    """Pipelined answers fill all buffers between; then the kernel gives up on a reader who takes nothing."""
    wanted = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with gateway.connect(receive_buffer=2048) as connection:
        connection.setblocking(False)
        sent = 0
        end = time.monotonic() + 12
        while time.monotonic() < end:
            try:
                sent += connection.send(wanted * 100)
            except BlockingIOError:
                time.sleep(1.0 if rate else 0.1)
                if rate:
                    try:
                        connection.recv(1)
                    except BlockingIOError:
                        pass
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("a reader who takes nothing was not cut off")


def test_row43_slow_callers_do_not_slow_the_others(gateway):
    """200 connections that drip headers and bodies, beside good traffic."""
    alone = sorted(timed(gateway) for _ in range(100))
    slow = [gateway.connect() for _ in range(200)]
    stop = threading.Event()

    def keep_dripping():
        for index in range(6):
            for number, connection in enumerate(slow):
                try:
                    connection.sendall(HEAD + LENGTH + b"\r\n" if number % 2 and not index else b"P")
                except OSError:
                    pass
            if stop.wait(0.3):
                return

    dripping = threading.Thread(target=keep_dripping)
    dripping.start()
    beside = sorted(timed(gateway) for _ in range(100))
    stop.set()
    dripping.join()
    for connection in slow:
        connection.close()
    assert beside[50] < alone[50] * 2 + 0.01
    assert beside[98] < 0.5


def timed(gateway):
    start = time.monotonic()
    assert gateway.post("/service", GOOD).status == 200
    return time.monotonic() - start


# Row 44


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        pytest.param(HEAD + b"X: " + b"a" * 40_960 + b"\r\n" + LENGTH + b"\r\n" + GOOD, 431, id="row44-header-40k"),
        pytest.param(HEAD + b"".join(b"X%d: a\r\n" % n for n in range(500)) + b"\r\n", 431, id="row44-500-headers"),
        pytest.param(b"GET /" + b"a" * 16_384 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, id="row44-url-16k"),
        pytest.param(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400, id="row44-no-host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="row44-two-hosts"),
        pytest.param(b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 400, id="row44-version"),
        pytest.param(
            b"GET http://other/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, id="row44-absolute"
        ),
    ],
)
def test_an_odd_head(gateway, request_bytes, expected):
    assert statuses(gateway.exchange(request_bytes)) == [expected]


def test_row44_http_1_0(gateway):
    assert b" 200 OK" in gateway.exchange(b"POST /service HTTP/1.0\r\n" + LENGTH + b"\r\n" + GOOD)


def test_row44_pipelined_requests_are_answered_in_order(gateway, fake):
    fake.script("facenet_compare", sleeps(0.2))
    with gateway.connect() as connection:
        live = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(HEAD + LENGTH + b"\r\n" + GOOD + live + SECOND)
        received = b""
        while len(statuses(received)) < 3:
            received += connection.recv(65536)
    assert statuses(received) == [200, 200, 404]
    assert received.index(GOOD_ANSWER.encode()) < received.index(b'{"live":true}')


def test_row44_a_refused_body_closes_and_the_next_connection_serves(gateway):
    received = gateway.exchange(HEAD + b"Content-Length: 99999999\r\n\r\n" + b"a" * 1000)
    assert statuses(received) == [413]
    assert b"connection: close" in received
    assert gateway.post("/service", GOOD).status == 200


EIGHT_MIB = b"Content-Length: %d\r\n\r\n" % (8 * MIB) + bytes(8 * MIB)


@pytest.mark.parametrize(
    ("line", "status"), [(b"POST /nowhere", 404), (b"PUT /service", 405), (b"POST /service/Nobody", 404)], ids=repr
)
def test_row44_who_sends_much_to_a_wrong_address_reads_so(gateway, line, status):
    with gateway.connect() as connection:
        connection.sendall(line + b" HTTP/1.1\r\nHost: x\r\n" + EIGHT_MIB)
        assert statuses(connection.recv(65536)) == [status]


def test_row44_who_sends_much_without_a_key_reads_that_one_is_needed(fake, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-sixteen-characters\n")
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=keys) as gateway, gateway.connect() as connection:
        connection.sendall(HEAD + EIGHT_MIB)
        assert statuses(connection.recv(65536)) == [401]


# Row 45


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
@pytest.mark.parametrize("path", ["/service", "/service/FaceEmbedModel"])
def test_row45_other_methods_are_405_with_allow(gateway, fake, method, path):
    reply = gateway.request(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert not fake.calls


# Row 46


@pytest.mark.parametrize(
    "path",
    [
        "/service/",
        "//service",
        "/service/../v2",
        "/service/%2e%2e/v2",
        "/service/..%2fv2",
        "/service%00",
        "/service%0a",
        "/service/FaceEmbedModel%0a",
        "/udl%0a",
        "/v1/detect%0a",
        "/service/FaceEmbedModel%00",
        "/service/facenet_embed",
        "/SERVICE",
        "/v2/repository/models/x/load",
        "/v2/health/ready",
        "/%ff%fe",
    ],
)
def test_row46_other_addresses_are_404(gateway, fake, path):
    assert gateway.post(path, GOOD).status == 404
    assert not fake.calls


# Row 47


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(b"a\x00b", id="row47-nul"),
        pytest.param(b"a\rb", id="row47-cr"),
        pytest.param(b"a\nX-Evil: 1", id="row47-lf"),
        pytest.param(b"forged" * 1000, id="row47-6k"),
        pytest.param(b"forged" * 1750, id="row47-10k"),
        pytest.param(b"forged \xff\xfe", id="row47-not-ascii"),
        pytest.param(b'forged"}', id="row47-json"),
    ],
)
def test_a_forged_name_is_not_repeated_and_not_logged(gateway, name):
    before = len(gateway.lines())
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: " + name + b"\r\n\r\n"
    received = gateway.exchange(head)
    assert statuses(received)[0] in (200, 400, 431)
    assert b"forged" not in received
    assert b"Evil" not in received
    time.sleep(0.05)
    assert "forged" not in str(gateway.lines()[before:])


def test_row47_where_a_request_says_it_is_from_is_not_believed(gateway):
    gateway.request("GET", "/", headers={"X-Forwarded-For": "forged-address", "Forwarded": "for=forged-address"})
    time.sleep(0.05)
    assert "forged-address" not in str(gateway.lines())


def test_row43_a_connection_that_says_nothing_is_closed(gateway):
    start = time.monotonic()
    with gateway.connect() as connection:
        assert connection.recv(1) == b""
    assert HEADER_SECONDS - 0.2 < time.monotonic() - start < HEADER_SECONDS + 1
