"""The page as people use it: by mouse, keyboard and drop, on a desk and a phone, in light and dark."""

import base64
import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from skimage.data import astronaut

from client.thresholds import THRESHOLDS
from tests.client.live import LiveGateway
from tests.fakes.triton import embedding_of, fails, sleeps
from tests.page.browser import Page

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 360, "height": 740}

# Files on their way to the page: {name: base64}.
TRANSFER = """
const transfer = new DataTransfer();
for (const [name, text] of Object.entries(arguments[0])) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
}
"""
DROP = (
    TRANSFER
    + 'arguments[1].dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));'
)
PASTE = TRANSFER + 'document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));'


def base64_files(*files):
    return {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}


def many_faces(count):
    """A script that finds this many faces, in a row, each with its own embedding."""
    boxes = np.array([[10 + 20 * i, 10, 25 + 20 * i, 40, 0.99] for i in range(count)], np.float32)
    outputs = {
        "BOXES": boxes,
        "LANDMARKS": np.repeat(boxes[:, None, :2], 5, 1) + 5,
        "EMBEDDING": np.stack([embedding_of(b"%d" % i) for i in range(count)]),
        "FACE_COUNT": np.array([count], np.int32),
    }
    return lambda call: outputs


def test_one_photo_has_boxes_landmarks_and_scores_drawn_on_it(page, photos):
    page.open()
    page.choose(0, photos[0])
    page.wait_for_result("1 face found")
    assert page.one("#photos svg").get_dom_attribute("viewBox") == "0 0 300 200"
    assert page.attributes("#photos svg rect", "x", "y", "width", "height") == [10.5, 20.25, 100, 120.5]
    assert len(page.all("#photos svg circle")) == 5
    assert page.text("#photos svg text") == "1 · 0.99"
    assert page.one("#photos svg g").get_attribute("aria-label") == "Face 1, score 0.99"
    assert [cell.text for cell in page.all("#result td")] == ["1", "0.99", "100 \u00d7 121"]
    assert page.console() == []


def test_the_drawing_lies_on_the_photo(page, photos):
    for size in ({}, PHONE):
        page.open(**size)
        page.choose(0, photos[1])
        page.wait_for_result("1 face found")
        img, svg, rect = (page.one(f"#photos {tag}").rect for tag in ("img", "svg", "svg rect"))
        assert {key: round(value) for key, value in img.items()} == {key: round(value) for key, value in svg.items()}
        shown = min(img["width"] / 200, img["height"] / 300)
        assert rect["width"] == pytest.approx(100 * shown, abs=4)
        left = img["x"] + (img["width"] - 200 * shown) / 2
        assert rect["x"] == pytest.approx(left + 10.5 * shown, abs=4)


def test_a_face_near_the_edge_of_a_phone_has_its_name_above_as_long_as_there_is_room(page, photos, fake):
    for y, above in ((18.0, True), (2.0, False)):
        box = np.array([[50, y, 80, 60, 0.99]], np.float32)
        fake.script("face_detect", lambda call, box=box: {"BOXES": box, "LANDMARKS": np.zeros((1, 5, 2), np.float32)})
        page.open(**PHONE)
        page.choose(0, photos[0])
        page.wait_for_result("1 face found")
        text, rect = page.one("#photos svg text").rect, page.one("#photos svg rect").rect
        assert (text["y"] < rect["y"] - 5) is above
        assert text["y"] >= page.one("#photos img").rect["y"] - 3


def test_two_photos_are_compared_with_the_threshold_of_the_person(page, photos):
    page.open()
    assert not page.one("#key").is_displayed()
    page.choose(0, photos[0])
    page.choose(1, photos[1])
    page.wait_for_result("The distance is 1.")
    assert "No threshold was measured" in page.text("#result")
    distance = float(page.text("#result td:nth-child(2)"))
    page.one("#threshold").send_keys("2")
    page.wait_for_result("Same person")
    assert f"The distance is {distance:.3f}, below the threshold 2.000." in page.text("#result")
    page.one("#threshold").send_keys(Keys.BACKSPACE, "0.5")
    page.wait_for_result("Different people")
    assert page.text("#result td:nth-child(4)") == "different people"


def test_the_measured_threshold_is_offered(page, photos, fake):
    """The gateway is another process: its identities are changed, not its thresholds."""
    identity = next(iter(THRESHOLDS))
    fake.embedding_ids["facenet"] = identity
    with LiveGateway(fake.url) as gateway:
        page.url = f"http://127.0.0.1:{gateway.port}"
        page.open()
        page.choose(0, photos[0])
        page.choose(1, photos[0])
        page.wait_for_result("Same person")
        assert page.one("#threshold").get_attribute("placeholder") == f"{THRESHOLDS[identity]:.3f}"


def test_the_threshold_is_known_though_triton_was_still_starting_when_the_page_was_opened(page, photos, fake):
    identity = next(iter(THRESHOLDS))
    fake.embedding_ids["facenet"] = identity
    fake.ready = False
    with LiveGateway(fake.url, ready=False) as gateway:
        page.url = f"http://127.0.0.1:{gateway.port}"
        page.open()
        page.choose(0, photos[0])
        page.choose(1, photos[0])
        page.wait_for_error("still starting")
        fake.ready = True
        page.wait_for(lambda: gateway.request("GET", "/health/ready").status == 200)
        page.one("#error button").click()
        page.wait_for_result("Same person")
        assert f"below the threshold {THRESHOLDS[identity]:.3f}" in page.text("#result")
        page.wait_for(lambda: page.one("#threshold").get_attribute("placeholder") == f"{THRESHOLDS[identity]:.3f}")


def test_faces_are_listed_by_the_names_that_are_drawn_and_no_two_have_one(page, photos, fake):
    fake.script("face_detect", many_faces(60))
    page.open()
    for place, last in ((0, "60"), (1, "BH")):
        page.choose(place, photos[place])
        page.wait_for_result("60 faces found")
        drawn = page.run("return [...document.querySelectorAll('#photos svg text')].map((text) => text.dataset.name)")
        assert [cell.text for cell in page.all("#result td:first-child")] == drawn
        assert (len(set(drawn)), drawn[-1]) == (60, last)
        page.all(".remove")[place].click()


def test_every_pair_of_many_faces_is_told(page, photos, fake):
    fake.script("facenet_photo", many_faces(4))
    page.open()
    page.choose(0, photos[0])
    page.choose(1, photos[1])
    page.wait_for_result("The closest distance is 0.000")
    page.one("#threshold").send_keys("1")
    page.wait_for_result("4 pairs of faces match")
    rows = [[cell.text for cell in row.find_elements("css selector", "td")] for row in page.all("#result tbody tr")]
    assert [row[0] for row in rows[:4]] == ["1 and A", "2 and B", "3 and C", "4 and D"]
    assert page.text("#result summary") == "The other 6 pairs"
    assert len(rows) == 16


def test_the_network_can_be_chosen(page, photos, fake):
    page.open()
    page.choose(0, photos[0])
    page.choose(1, photos[1])
    page.wait_for_result("The distance is")
    page.run("arguments[0].value = 'arcface'; arguments[0].dispatchEvent(new Event('change'))", page.one("#model"))
    page.wait_for(lambda: any(call.model == "arcface_photo" for call in fake.calls))
    page.wait_for_result("The distance is")


def test_a_photo_can_be_dropped_and_two_at_once(page, photos):
    page.open()
    page.run(DROP, base64_files(photos[1]), page.all(".photo")[1])
    page.wait_for_result("1 face found")
    assert not page.all("figure")[0].is_displayed()
    assert page.all("figure")[1].is_displayed()
    page.open()
    page.run(DROP, base64_files(*photos), page.one("body"))
    page.wait_for_result("The distance is")


def test_a_photo_can_be_pasted(page, photos):
    page.open()
    page.run(PASTE, base64_files(photos[0]))
    page.wait_for_result("1 face found")
    page.run(PASTE, base64_files(photos[1]))
    page.wait_for_result("The distance is")


def test_a_photo_can_be_removed_again(page, photos):
    page.open()
    page.choose(0, photos[0])
    page.wait_for_result("1 face found")
    page.one(".remove").click()
    assert not page.one("#result").is_displayed()
    assert not page.one("figure").is_displayed()
    page.choose(0, photos[1])
    page.wait_for_result("1 face found")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page, photos):
    page.open()
    page.choose(0, photos[0])
    page.choose(1, photos[1])
    page.wait_for_result("The distance is")
    page.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in range(9):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        name, outlined = page.run(
            """const at = document.activeElement;
            const marked = [at, at.parentElement].some((one) => getComputedStyle(one).outlineStyle === "solid");
            const name = at.labels?.length ? at.labels[0].textContent : at.textContent;
            return [name.trim().replace(/\\s+/g, " "), marked];"""
        )
        reached.append(name)
        assert outlined, name
        if name == "Threshold":
            break
    assert reached == [
        "API",
        "Choose the first photo or drop it here",
        "Remove the first photo",
        "Choose the second photo or drop it here",
        "Remove the second photo",
        "Network",
        "Threshold",
    ]
    back = ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB, Keys.TAB).key_up(Keys.SHIFT)
    back.send_keys(Keys.ENTER).perform()
    page.wait_for(lambda: not page.all("figure")[1].is_displayed())  # the second photo was removed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_format: not a picture; send JPEG, PNG, WebP or BMP", "not a photo that the server can read"),
        ("image_truncated: the picture ends early", "ends before the photo does"),
        ("image_unreadable: the picture is damaged", "This file is damaged"),
        ("image_too_large: too many pixels", "too large for the server"),
        ("image_strange: something new", "The server says: something new."),
    ],
)
def test_an_error_is_told_kindly(page, photos, fake, text, words):
    fake.script("face_detect", fails(grpc.StatusCode.INVALID_ARGUMENT, text))
    page.open()
    page.choose(0, photos[0])
    page.wait_for_error(words)
    assert not page.all("#error button")


def test_an_error_says_which_of_two_photos_it_means(page, photos, fake):
    picture = photos[1].read_bytes()

    def script(call):
        bad = call.inputs["IMAGE"][0] == picture
        return fails(grpc.StatusCode.INVALID_ARGUMENT, "image_unreadable: x")(call) if bad else many_faces(1)(call)

    fake.script("facenet_photo", script)
    page.open()
    page.choose(0, photos[0])
    page.choose(1, photos[1])
    page.wait_for_error("Second photo: This file is damaged")


def test_a_busy_server_can_be_asked_again(page, photos, fake):
    fake.script("face_detect", fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"))
    page.open()
    page.choose(0, photos[0])
    page.wait_for_error("The server is busy")
    fake.reset()
    page.one("#error button").click()
    page.wait_for_result("1 face found")
    assert page.text("#error") == ""


def test_a_server_that_is_gone_is_told(page, photos, fake):
    with LiveGateway(fake.url) as gateway:
        page.url = f"http://127.0.0.1:{gateway.port}"
        page.open()
    page.choose(0, photos[0])
    page.wait_for_error("The server cannot be reached")


def test_a_file_that_is_too_large_is_not_sent(page, fake, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(8 * 2**20 + 1))
    page.open()
    page.wait_for(lambda: page.one("#threshold").get_attribute("placeholder") == "none")  # the limits have come
    page.choose(0, large)
    page.wait_for_error("the server takes at most 8 MiB")
    assert not fake.calls


def test_a_photo_without_a_face_is_told(page, photos, fake):
    nothing = {"BOXES": np.zeros((0, 5), np.float32), "LANDMARKS": np.zeros((0, 5, 2), np.float32)}
    fake.script("face_detect", lambda call: nothing)
    page.open()
    page.choose(0, photos[0])
    page.wait_for_result("No face found")


def test_the_newest_photo_wins(page, photos, fake):
    fake.script("face_detect", sleeps(30))
    page.open()
    page.choose(0, photos[0])
    page.wait_for(lambda: len(fake.calls) == 1)
    fake.script("face_detect", many_faces(3))
    page.choose(0, photos[1])
    page.wait_for_result("3 faces found")
    page.wait_for(lambda: fake.calls[0].cancelled)


def test_a_key_is_asked_for_once(page, photos, fake, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-sixteen-characters\n")
    with LiveGateway(fake.url, FACE_API_KEYS_FILE=keys) as gateway:
        page.url = f"http://127.0.0.1:{gateway.port}"
        page.open()
        page.wait_for(lambda: page.one("#key").is_displayed())
        page.one("#key").send_keys("a-wrong-key-of-many-characters", Keys.ENTER)
        page.wait_for_error("asks for a key")
        page.one("#key").clear()
        page.choose(0, photos[0])
        page.wait_for_error("asks for a key")
        page.one("#key").send_keys("a-key-of-sixteen-characters", Keys.ENTER)
        page.wait_for_result("1 face found")
        page.choose(1, photos[1])
        page.wait_for_result("The distance is")


def test_nothing_comes_from_another_host(page, photos):
    page.open()
    page.choose(0, photos[0])
    page.wait_for_result("1 face found")
    loaded = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) >= 6
    assert all(address.startswith((page.url, "blob:" + page.url)) for address in loaded)
    assert page.console() == []


def states(page, photos, fake):
    """The page in everything it can look like, one after the other."""
    yield "empty"
    page.choose(0, photos[0])
    page.wait_for_result("1 face found")
    yield "one photo"
    fake.script("facenet_photo", many_faces(5))
    page.choose(1, photos[1])
    page.wait_for_result("The closest distance")
    yield "no threshold"
    page.one("#threshold").send_keys("1")
    page.wait_for_result("5 pairs of faces match")
    page.one("#result summary").click()
    yield "many pairs"
    fake.script("facenet_photo", fails(grpc.StatusCode.UNAVAILABLE, "busy"))
    page.choose(1, photos[0])
    page.wait_for_error("busy")
    yield "error"


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_sticks_out_to_the_side(page, photos, fake, width):
    page.open(width=width, height=800)
    for state in states(page, photos, fake):
        assert page.run("return document.documentElement.scrollWidth") <= width, state
    page.open("/docs", width=width, height=800)
    assert page.run("return document.documentElement.scrollWidth") <= width


def test_on_a_phone_defaults_are_named_where_their_heading_is_hidden(page):
    shown = """return [...document.querySelectorAll(".docs td:nth-child(3)")]
        .map((cell) => [cell.textContent, getComputedStyle(cell, "::before").content])"""
    page.open("/docs", **PHONE)
    cells = [(text, before) for text, before in page.run(shown) if text]
    assert ("all", '"default: "') in cells
    assert all(len(text) < 10 for text, before in cells if before != "none")  # no meaning is taken for a default
    page.open("/docs")
    assert {before for _, before in page.run(shown)} == {"none"}


def test_controls_are_large_enough_for_a_finger(page, photos, fake):
    page.open(**PHONE)
    for state in states(page, photos, fake):
        for control in page.all("button, .button, select, input[type=number], summary"):
            if control.is_displayed():
                assert control.size["height"] >= 40, (state, control.text)


def test_dark_is_dark(page):
    def brightness():
        colour = page.run("return getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    page.open()
    assert brightness() > 600
    page.open(dark=True)
    assert brightness() < 120


@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(page, photos, fake, dark, size):
    if not AXE.is_file():
        pytest.skip("axe-core is not here (npm ci --prefix tests/page)")

    def check(state):
        page.run(AXE.read_text())
        found = page.driver.execute_async_script("axe.run().then(arguments[0])")
        told = [(one["impact"], one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]]
        assert told == [], state
        assert len(found["passes"]) > 10

    page.open(dark=dark, **size)
    for state in states(page, photos, fake):
        check(state)
    page.open("/docs", dark=dark, **size)
    check("docs")


def test_a_real_photo_and_its_mirror_are_one_person(driver, server, tmp_path):
    photo, mirror = tmp_path / "photo.jpg", tmp_path / "mirror.jpg"
    picture = Image.fromarray(astronaut())
    picture.save(photo, quality=92)
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirror, quality=92)
    page = Page(driver, server.url)
    page.open()
    page.choose(0, photo)
    page.wait_for_result("1 face found")
    page.choose(1, mirror)
    page.wait_for_result("Same person")
    page.run("arguments[0].value = 'arcface'; arguments[0].dispatchEvent(new Event('change'))", page.one("#model"))
    page.wait_for_result("Same person")


def test_a_photo_on_its_side_is_drawn_upright(driver, server, tmp_path):
    """The browser and the server turn a photo by its EXIF orientation alike."""
    picture = Image.fromarray(astronaut()).crop((0, 0, 512, 400))
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture.transpose(Image.Transpose.ROTATE_90).save(data, "JPEG", exif=exif)
    photo = tmp_path / "side.jpg"
    photo.write_bytes(data.getvalue())
    page = Page(driver, server.url)
    page.open()
    page.choose(0, photo)
    page.wait_for_result("1 face found")
    assert page.one("#photos svg").get_dom_attribute("viewBox") == "0 0 512 400"
    assert page.attributes("#photos svg rect", "x") == pytest.approx([180], abs=8)
