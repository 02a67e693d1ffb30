"""The page at /, in a headless Chromium: what a person does with it, by eye, by keyboard and by screen reader."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Play, Serve
from PIL import Image
from prompt_engines import Playing, dead
from served import IMAGE, Client
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.page import FOLDER, POLICY
from skipstep_service.settings import ApiKey

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
# without what a container lacks, and without anything that Chromium would do on its own account
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
)
KEY = "a key of the tests"
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1280, "height": 900}
READY = "() => document.querySelectorAll('#model option').length > 0"


class Window:
    """A page of one server, and all that it did: what it asked for, and what its console said."""

    def __init__(self, page: Any, client: Client) -> None:
        self.page, self.client = page, client
        self.origin = str(client.base_url).rstrip("/")
        self.asked: list[Any] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave before the server does."""
        self.page.close()

    def open(self, path: str = "/") -> Window:
        self.page.goto(self.origin + path)
        self.page.wait_for_function(READY)
        return self

    def generate(self, prompt: str, **fields: Any) -> None:
        """Fill in the form and send it."""
        self.page.get_by_label("Prompt", exact=True).fill(prompt)
        for name, value in fields.items():
            self.page.locator(f"#{name}").fill(str(value))
        self.page.get_by_role("button", name="Generate").click()

    def until_says(self, text: str) -> None:
        self.page.locator("#status").filter(has_text=text).wait_for()

    def hosts(self) -> set[str]:
        """Where requests went, but for those that go nowhere."""
        urls = [request.url for request in self.asked if not request.url.startswith(("data:", "blob:"))]
        return {str(httpx.URL(url).copy_with(raw_path=b"/")).rstrip("/") for url in urls}


Open = Callable[..., Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: run `pip install playwright`")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: run `apt-get install chromium`")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture
def window(browser: Any) -> Iterator[Open]:
    """Opens pages; nothing they did may have been an error, or gone to another host."""
    contexts, windows = [], []

    def open_window(client: Client, **options: Any) -> Window:
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        windows.append(Window(context.new_page(), client))
        return windows[-1]

    yield open_window
    for context in contexts:
        context.close()
    for one in windows:
        assert one.errors == []
        assert one.hosts() == {one.origin}


def violations(page: Any) -> list[str]:
    """What axe finds that is serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {[node['html'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def overflow(page: Any) -> int:
    """Pixels that the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_files_are_served_under_a_strict_policy_and_the_api_goes_first(client: Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name in (*(file.name for file in FOLDER.iterdir()), ""):
        assert client.get(f"/{name}").headers["content-security-policy"] == POLICY
    assert re.search(r"https?://|<script>|style=| on\w+=\"", page.text) is None
    assert client.get("/v1/models").headers["content-type"] == "application/json"
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_found"
    assert client.put("/v1/jobs").status_code == 405
    assert client.get("/../app.py").status_code == 404
    assert "content-security-policy" not in client.get("/docs").headers


def test_modules_are_small() -> None:
    sizes = {file.name: len(file.read_text().splitlines()) for file in FOLDER.glob("*.js")}
    assert max(sizes.values()) < 200, sizes


def test_a_picture_is_generated(client: Client, window: Open) -> None:
    shown = window(client).open()
    shown.generate("a red apple", steps=9, seed=5)
    shown.until_says("Done: 1 file.")
    page = shown.page
    picture = page.get_by_role("img", name="Result: a red apple")
    assert picture.evaluate("(image) => image.naturalWidth") == 8
    assert page.evaluate("document.activeElement.id") == "job-title"
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download picture").click()
    assert Path(saved.value.path()).read_bytes() == dummy_bytes("a red apple", 5)
    (sent,) = [one for one in shown.asked if one.method == "POST"]
    assert re.fullmatch(r"[0-9a-f]{32}", sent.headers["idempotency-key"])
    assert sent.post_data_json["acceleration"] == {"preset": "balanced"}
    assert page.url.endswith("#" + client.get("/v1/jobs").json()["jobs"][0]["id"])


def test_passes_and_previews_are_seen_while_it_runs(serve: Serve, window: Open) -> None:
    with serve(dummy_step_s=0.15) as client, window(client) as shown:
        shown.open()
        shown.generate("slow", steps=24)
        shown.until_says("Running")
        page = shown.page
        page.get_by_role("img", name=re.compile(r"^Passes: [2-9] full and \d+ reuse passes of 24$")).wait_for()
        assert page.locator(".strip .cells").inner_text().split()[:4] == ["F", "r", "r", "F"]
        full, reuse = (page.locator(f".strip .{kind}").first.bounding_box() for kind in ("full", "reuse"))
        assert full["height"] > reuse["height"]
        assert 0 < page.get_by_role("progressbar").evaluate("(bar) => bar.value") < 1
        page.get_by_role("img", name="Preview of the picture").wait_for()
        assert violations(page) == []
        shown.until_says("Done")


def test_a_job_is_canceled_with_the_keyboard(serve: Serve, window: Open) -> None:
    with serve(dummy_step_s=0.15) as client, window(client) as shown:
        shown.open()
        shown.generate("too long", steps=500)
        shown.until_says("Running")
        shown.page.get_by_role("button", name="Cancel").focus()
        shown.page.keyboard.press("Enter")
        shown.until_says("Canceled.")
        (job,) = client.get("/v1/jobs").json()["jobs"]
        assert job["status"] == "canceled"
        shown.page.locator(".badge.canceled").wait_for()
        assert shown.page.evaluate("document.activeElement.id") == "job-title"


def test_the_place_in_the_queue_is_told(serve: Serve, window: Open) -> None:
    with serve(dummy_step_s=0.1, step_batching=False) as client, window(client) as shown:
        first = client.job(steps=1000, width=64, height=64)
        client.job(steps=5, prompt="ahead", width=64)
        shown.open()
        shown.generate("patient", steps=5)
        shown.until_says("Waiting: 1 job goes before this one")
        client.post(f"/v1/jobs/{first['id']}/cancel")
        shown.until_says("Done")


def test_a_cut_stream_goes_on_where_it_ended(serve: Serve, window: Open) -> None:
    with serve(dummy_step_s=0.05) as client, window(client) as shown:
        seen: list[str | None] = []

        def cut_first(route: Any) -> None:
            seen.append(route.request.headers.get("last-event-id"))
            if len(seen) > 1:
                route.continue_()
                return
            taken = b"".join(
                f"id: 1-{number}\nevent: {kind}\ndata: {data}\n\n".encode()
                for number, kind, data in [
                    (0, "status", '{"status": "running"}'),
                    (1, "progress", '{"image": 0, "evaluation": 0, "evaluations": 40, "pass": "full"}'),
                ]
            )
            route.fulfill(status=200, headers={"Content-Type": "text/event-stream"}, body=taken)

        shown.page.route("**/events", cut_first)
        shown.open().generate("resumed", steps=40)
        shown.page.get_by_role("img", name=re.compile("full and .* reuse passes of 40")).wait_for()
        shown.page.wait_for_function("() => document.querySelectorAll('.strip .cells span').length >= 38")
        shown.until_says("Done")
        assert seen == [None, "1-1"]


def test_a_lost_answer_makes_no_second_job(client: Client, window: Open) -> None:
    shown = window(client)
    tries: list[str] = []

    def lose_first(route: Any) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        tries.append(route.request.headers["idempotency-key"])
        if len(tries) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    shown.page.route("**/v1/jobs", lose_first)
    shown.open().generate("asked for twice", steps=3)
    shown.until_says("Done")
    assert len(tries) == 2
    assert len(set(tries)) == 1
    prompts = [job["request"]["prompt"] for job in client.get("/v1/jobs").json()["jobs"]]
    assert prompts.count("asked for twice") == 1
    assert all("ERR_FAILED" in error for error in shown.errors)  # the browser's own word for what was lost
    shown.errors.clear()


def test_baseline_and_cached_are_compared_with_the_keyboard(client: Client, window: Open) -> None:
    shown = window(client).open()
    page = shown.page
    page.get_by_label("Compare with the baseline").check()
    shown.generate("both", steps=3)
    shown.until_says("Done: 2 files.")
    (sent,) = [one.post_data_json for one in shown.asked if one.method == "POST"]
    assert (sent["compare"], sent["previews"]) == (True, False)  # previews would count as time of the cached run
    slider = page.get_by_role("slider", name="Picture: share that shows the baseline")
    clip = "(image) => getComputedStyle(image).clipPath"
    over = page.get_by_role("img", name="Result: both")
    assert over.evaluate(clip) == "inset(0px 0px 0px 50%)"
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "60 % baseline, 40 % cached"
    assert over.evaluate(clip) == "inset(0px 0px 0px 60%)"
    tiles = page.locator(".tiles").inner_text()
    for figure in ("2.50", "10.0 ms", "baseline: 25.0 ms", "31.50 dB", "0.9421"):
        assert figure in tiles
    assert violations(page) == []


def test_jobs_are_paged_opened_and_deleted(serve: Serve, window: Open) -> None:
    with serve() as client, window(client) as shown:
        for number in range(15):
            client.until_done(client.job(prompt=f"job {number}", steps=1)["id"])
        shown.open()
        page = shown.page
        page.get_by_role("link", name="job 14").wait_for()
        assert page.locator(".job-card").count() == 12
        page.get_by_role("button", name="Show older jobs").click()
        page.get_by_role("link", name="job 0").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "job 2"
        page.get_by_role("link", name="job 1", exact=True).click()
        page.get_by_role("img", name="Result: job 1", exact=True).wait_for()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete: job 1", exact=True).click()
        shown.until_says("The job was deleted.")
        assert page.get_by_role("link", name="job 1", exact=True).count() == 0
        assert page.evaluate("document.activeElement.textContent") == "job 0"
        assert "job 1" not in [job["request"]["prompt"] for job in client.get("/v1/jobs?limit=100").json()["jobs"]]


def test_settings_of_a_job_are_used_again(client: Client, window: Open) -> None:
    cache = {"interval": 4, "branch": 1, "forecast": "quadratic"}
    job = client.until_done(
        client.job(prompt="again", sampler="heun", seed=77, acceleration={"cache": cache}, n=2, width=64)["id"]
    )
    shown = window(client).open(f"/#{job['id']}")
    shown.until_says("Done: 2 files.")
    shown.page.get_by_role("button", name="Use these settings").click()
    shown.page.get_by_role("button", name="Generate").click()
    shown.page.wait_for_function(f"() => location.hash !== '#{job['id']}'")
    shown.until_says("Done")
    again = client.look(shown.page.url.partition("#")[2])["request"]
    assert again == {**job["request"], "previews": False}


def test_a_prompt_is_expanded(play: Play, window: Open) -> None:
    engine = Playing()
    with play(engine) as client, window(client) as shown:
        page = shown.open().page
        choice = page.get_by_label("Expand the prompt")
        assert choice.locator("option").all_inner_texts()[0] == "no: draw it as it is"
        choice.select_option("anime")
        shown.generate("a red apple", steps=3, seed=5)
        shown.until_says("Done: 1 file.")
        page.get_by_text("Expanded prompt: a red apple, soft light, film grain").wait_for()
        (sent,) = [one.post_data_json for one in shown.asked if one.method == "POST"]
        assert sent["expand"] == {"preset": "anime"}
        assert sent["prompt"] == "a red apple"
        assert violations(page) == []
        choice.select_option("")
        page.get_by_role("button", name="Use these settings").click()
        assert choice.input_value() == "anime"
        engine.script = dead
        page.get_by_role("button", name="Generate").click()
        page.get_by_text("The prompt is as it was: the prompt model failed: RuntimeError.").wait_for()
        choice.select_option("")
        page.get_by_role("button", name="Generate").click()
        shown.until_says("Done: 1 file.")
        page.locator(".expanded").wait_for(state="detached")


def test_a_server_without_a_prompt_model_offers_no_expansion(client: Client, window: Open) -> None:
    shown = window(client).open()
    assert not shown.page.get_by_label("Expand the prompt").is_visible()
    shown.generate("plain", steps=3)
    shown.until_says("Done: 1 file.")
    (sent,) = [one.post_data_json for one in shown.asked if one.method == "POST"]
    assert "expand" not in sent


def test_what_the_server_refuses_is_said_at_its_field(client: Client, window: Open) -> None:
    shown = window(client).open()
    page = shown.page
    page.locator("#form").evaluate("(form) => { form.noValidate = true }")
    shown.generate("x", steps=5, width=33)
    page.get_by_role("alert").filter(has_text="multiple of 8").wait_for()
    assert page.evaluate("document.activeElement.id") == "width"
    assert page.locator("#width").get_attribute("aria-invalid") == "true"
    assert all("422" in error for error in shown.errors)
    shown.errors.clear()


def test_a_key_is_asked_for_and_kept_in_the_tab(serve: Serve, window: Open) -> None:
    with serve(api_keys=(ApiKey.of("me", KEY),)) as client, window(client) as shown:
        client.headers["Authorization"] = f"Bearer {KEY}"
        client.until_done(client.job(steps=1)["id"])
        page = shown.page
        page.goto(shown.origin)
        page.get_by_role("alert").filter(has_text="asks for an API key").wait_for()
        assert page.evaluate("document.activeElement.id") == "key"
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="the key is not known").wait_for()
        page.get_by_label("Key of this server").fill(KEY)
        page.keyboard.press("Enter")
        page.wait_for_function(READY)
        page.get_by_role("link", name=IMAGE["prompt"]).wait_for()
        assert page.get_by_role("alert").count() == 0
        shown.generate("with a key", steps=3)
        shown.until_says("Done: 1 file.")
        assert page.evaluate("[Object.values(sessionStorage), localStorage.length, document.cookie]") == [[KEY], 0, ""]
        assert not any(KEY.replace(" ", "%20") in one.url for one in shown.asked)
        assert all("401" in error for error in shown.errors)
        shown.errors.clear()


def test_a_picture_is_sent_for_a_clip_and_for_a_picture(client: Client, window: Open, tmp_path: Path) -> None:
    shown = window(client).open()
    page = shown.page
    path = tmp_path / "picture.png"
    Image.new("RGB", (16, 16), (200, 30, 30)).save(path)
    page.locator("#image").set_input_files(path)
    page.get_by_label("Strength").fill("0.5")
    shown.generate("from a picture", steps=3)
    shown.until_says("Done")
    page.get_by_label("Model").select_option("dummy-video")
    assert not page.get_by_label("Prompt", exact=True).is_visible()
    page.get_by_role("button", name="Generate").click()
    page.locator(".stage video").wait_for()
    shown.until_says("Done: 1 file.")
    picture, clip = (one.post_data_json for one in shown.asked if one.method == "POST")
    assert (picture["kind"], picture["strength"]) == ("image", 0.5)
    assert (clip["kind"], clip["steps"], clip["fps"]) == ("video", 25, 7)
    assert {"prompt", "n", "strength"}.isdisjoint(clip)
    for body in (picture, clip):
        data = base64.b64decode(body["image"].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (16, 16)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
def test_everyone_can_use_it(client: Client, window: Open, scheme: str, size: dict[str, int]) -> None:
    shown = window(client, viewport=size, color_scheme=scheme).open()
    page = shown.page
    page.get_by_text("My own").click()
    page.get_by_text("API key").first.click()
    assert violations(page) == []
    assert overflow(page) == 0
    page.get_by_label("Compare with the baseline").check()
    shown.generate("an unusuallylongwordthatcannotbebrokenanywhereatallinthiswindow", steps=100, n=2)
    shown.until_says("Done: 4 files.")
    page.get_by_text("What really ran").click()
    assert violations(page) == []
    assert overflow(page) == 0


def test_everything_is_reached_with_the_tab_key_and_seen(client: Client, window: Open) -> None:
    client.until_done(client.job(compare=True, steps=2)["id"])
    newest = client.get("/v1/jobs").json()["jobs"][0]["id"]
    shown = window(client).open(f"/#{newest}")
    shown.until_says("Done")
    page = shown.page
    described = """() => {
      const at = document.activeElement
      const marked = at.closest('.stage') ?? at
      return [at.id || at.getAttribute('aria-label') || at.textContent.trim(), getComputedStyle(marked).outlineStyle]
    }"""
    reached = []
    for _ in range(45):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(described))
    names = [name for name, _ in reached]
    for expected in (
        "Skip to the form", "API key", "model", "prompt", "image", "preset", "compare", "seed", "random", "generate",
        "Picture: share that shows the baseline", "Use these settings", "refresh",
    ):  # fmt: skip
        assert expected in names
    assert {outline for name, outline in reached if name in ("model", "generate", "refresh", "prompt")} == {"solid"}
    assert dict(reached)["Picture: share that shows the baseline"] == "solid"
