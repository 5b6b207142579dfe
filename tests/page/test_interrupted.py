"""The page where photos change, or the server leaves, in the midst of an answer."""

import numpy as np

from tests.fakes.triton import sleeps

# Photos are decoded when `release` is called, as large ones are only after a while.
SLOW_DECODING = """
const waiting = [];
HTMLImageElement.prototype.decode = () => new Promise((resolve) => waiting.push(resolve));
window.decoding = waiting;
window.release = () => waiting.splice(0).forEach((resolve) => resolve());
"""
# The next answer about a photo has this status and no end: `cut` breaks it off, and so does leaving the request.
BROKEN_ANSWER = """
const real = window.fetch;
window.fetch = async (path, request) => {
  if (path === "/v1/models") return real(path, request);  // which the page asks by itself
  const { signal } = request;
  const body = new ReadableStream({ start(stream) {
    signal?.addEventListener("abort", () => stream.error(signal.reason));
    window.cut = () => stream.error(new TypeError("network error"));
  } });
  window.fetch = real;
  return new Response(body, { status: arguments[0] });
};
"""


def three_faces(call):
    boxes = np.array([[10 + 30 * i, 10, 35 + 30 * i, 40, 0.99] for i in range(3)], np.float32)
    return {"BOXES": boxes, "LANDMARKS": np.zeros((3, 5, 2), np.float32)}


def settled(page):
    """Wait until all that the page had to do at once is done."""
    page.driver.execute_async_script("setTimeout(arguments[0], 50)")


def test_the_faces_of_a_photo_that_was_replaced_while_it_was_decoded_are_not_drawn(page, photos, fake):
    fake.script("face_detect", three_faces)
    page.open()
    page.run(SLOW_DECODING)
    page.choose(0, photos[0])
    page.wait_for(lambda: page.run("return decoding.length") == 1)
    fake.script("face_detect", sleeps(1.0))
    page.choose(0, photos[1])
    page.run("release()")
    settled(page)
    assert page.all("#photos svg rect") == []
    assert page.text("figcaption") == "" and not page.one("#result").is_displayed()
    page.wait_for(lambda: page.run("return decoding.length") == 1)
    page.run("release()")
    page.wait_for_result("1 face found")
    assert len(page.all("#photos svg rect")) == 1


def test_a_photo_that_is_removed_while_it_is_decoded_leaves_nothing_behind(page, photos):
    page.open()
    page.run(SLOW_DECODING)
    page.choose(0, photos[0])
    page.wait_for(lambda: page.run("return decoding.length") == 1)
    page.one(".remove").click()
    page.run("release()")
    settled(page)
    assert page.text("#error") == ""
    assert not page.one("#result").is_displayed()
    assert page.all("#photos svg rect") == []


def test_of_two_photos_that_are_compared_one_can_be_removed_while_they_are_decoded(page, photos, fake):
    page.open()
    page.choose(0, photos[0])
    page.wait_for_result("1 face found")
    page.run(SLOW_DECODING)
    page.choose(1, photos[1])
    page.wait_for(lambda: page.run("return decoding.length") == 2)
    fake.script("face_detect", sleeps(1.0))
    page.all(".remove")[1].click()
    page.run("release()")
    settled(page)
    assert page.text("#error") == ""
    page.wait_for(lambda: page.run("return decoding.length") == 1)
    page.run("release()")
    page.wait_for_result("1 face found")


def choose_with_broken_answer(page, photo, status):
    """Choose a photo whose answer has begun with this status, and breaks off at `cut()`."""
    page.open()
    page.run(BROKEN_ANSWER, status)
    page.choose(0, photo)
    page.wait_for(lambda: page.run("return Boolean(window.cut)"))


def test_an_answer_that_is_cut_off_is_a_server_that_cannot_be_reached(page, photos):
    choose_with_broken_answer(page, photos[0], 200)
    page.run("cut()")
    page.wait_for_error("The server cannot be reached")
    page.one("#error button").click()
    page.wait_for_result("1 face found")


def test_an_error_whose_words_are_cut_off_is_told_by_its_status(page, photos):
    choose_with_broken_answer(page, photos[0], 503)
    page.run("cut()")
    page.wait_for_error("The server is busy")


def test_a_photo_that_is_removed_while_its_answer_comes_leaves_no_error(page, photos):
    choose_with_broken_answer(page, photos[0], 200)
    page.one(".remove").click()
    settled(page)
    assert page.text("#error") == ""
