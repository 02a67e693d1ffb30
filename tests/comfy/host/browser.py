"""ComfyUI's frontend in a headless Chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import ConsoleMessage, Error, Page, sync_playwright

from .client import WAIT_S, ComfyClient, Graph, Outcome, RefusedError

Result = TypeVar("Result")
Workflow = dict[str, Any]  # as the frontend saves it, or a Graph

# without what a container lacks, and without anything that Chromium would do on its own account
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
SIZE = {"width": 1600, "height": 900}
READY_MS = 180_000
ACTION_MS = 30_000
READY = "() => window.app?.vueAppReady && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 200"

OPEN = "(app.extensionManager.workflow.activeWorkflow?.path ?? null)"
TEXT_OF = "(id) => app.graph.getNodeById(id).widgets?.find((widget) => widget.name === 'skipstep_text')?.value ?? null"
PLACE_OF = """(id) => {
  const node = app.graph.getNodeById(id), { scale, offset } = app.canvas.ds
  const { left, top } = app.canvas.canvas.getBoundingClientRect()
  const corner = [left + (node.pos[0] + offset[0]) * scale, top + (node.pos[1] + offset[1]) * scale]
  return [...corner, node.size[0] * scale, node.size[1] * scale]
}"""


def find_chromium() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


@dataclass(frozen=True, kw_only=True)
class ConsoleError:
    """An error in the browser's console, or one that no script caught."""

    text: str
    source: str  # address of the script or of the file


class Browser:
    """One Chromium.

    Playwright lives in a thread of its own: it leaves a running event loop in the thread that uses it, in which
    `asyncio.run` then fails.
    """

    def __init__(self, executable: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._playwright = self.do(lambda: sync_playwright().start())
        options = {"executable_path": executable, "headless": True, "args": list(ARGUMENTS)}
        self._browser = self.do(lambda: self._playwright.chromium.launch(**options))

    def do(self, action: Callable[[], Result]) -> Result:
        """Call something of Playwright in its thread."""
        return self._thread.submit(action).result()

    def open(self, url: str) -> Frontend:
        """The frontend of a server in a new window, without what another window has kept."""
        page = self.do(lambda: self._browser.new_page(viewport=SIZE))
        return Frontend(self, page, url=url)

    def close(self) -> None:
        self.do(self._browser.close)
        self.do(self._playwright.stop)
        self._thread.shutdown()


class Frontend:
    """A window with ComfyUI."""

    def __init__(self, browser: Browser, page: Page, *, url: str) -> None:
        self.url = url
        self._browser = browser
        self._page = page
        self._errors: list[ConsoleError] = []
        self.do(self._load_page)

    def do(self, action: Callable[[Page], Result]) -> Result:
        """Anything else: `frontend.do(lambda page: page.locator("...").click())`."""
        return self._browser.do(lambda: action(self._page))

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of a script or of a function, which gets the argument."""
        return self.do(lambda page: page.evaluate(script, argument))

    def close(self) -> None:
        self.do(lambda page: page.close())

    def clear(self) -> None:
        """An empty canvas without dialogs, and no errors so far: for the next test."""
        self.do(lambda page: page.keyboard.press("Escape"))
        self.load({"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "version": 0.4})
        self._errors.clear()

    def load(self, workflow: Workflow, *, name: str = "test") -> None:
        """Open a workflow in either format; its nodes are all on the canvas then."""
        if is_graph(workflow):
            before = self.evaluate(OPEN)
            self.evaluate("async ([graph, name]) => { await app.loadApiJson(graph, name) }", [workflow, name])
            # the tab comes after the nodes, for which the frontend does not wait
            self.do(lambda page: page.wait_for_function(f"(before) => {OPEN} !== before", arg=before))
        else:
            opening = "async ([workflow, name]) => { await app.loadGraphData(workflow, true, true, name) }"
            self.evaluate(opening, [workflow, name])

    def node_types(self) -> set[str]:
        """All that can be put on the canvas, with those that only the frontend has, such as notes."""
        return set(self.evaluate("Object.keys(LiteGraph.registered_node_types)"))

    def missing_nodes(self, workflow: Workflow) -> list[str]:
        """The types of nodes in a workflow, and in its subgraphs, that do not exist here."""
        return sorted(used_types(workflow) - self.node_types())

    def graph(self) -> Graph:
        """What is on the canvas, as it would be queued; without what the frontend adds for itself."""
        graph: Graph = self.evaluate("async () => (await app.graphToPrompt()).output")
        return {node_id: {key: node[key] for key in ("class_type", "inputs")} for node_id, node in graph.items()}

    def workflow(self) -> Workflow:
        """What is on the canvas, as it would be saved."""
        return dict(json.loads(self.evaluate("JSON.stringify(app.graph.serialize())")))

    def set(self, setting: str, value: Any) -> None:
        """Change a setting of the user."""
        changing = "async ([name, value]) => { await app.extensionManager.setting.set(name, value) }"
        self.evaluate(changing, [setting, value])

    def reload(self) -> None:
        """The page anew, as by the browser's button."""
        self.do(lambda page: page.reload(wait_until="domcontentloaded"))
        self.do(lambda page: page.wait_for_function(READY, timeout=READY_MS))
        self._errors.clear()

    def text_of(self, node: str) -> str | None:
        """What the pack's text box in a node shows; None if it has none."""
        text: str | None = self.evaluate(TEXT_OF, node)
        return text

    def wait_for_text(self, node: str, text: str) -> None:
        """Until the pack's text box in a node shows just that."""
        shown = f"([node, text]) => ({TEXT_OF})(node) === text"
        self.do(lambda page: page.wait_for_function(shown, arg=[node, text]))

    def place_of(self, node: str) -> tuple[float, float, float, float]:
        """Where a node is in the window: left, upper, right and lower, in pixels."""
        left, upper, width, height = self.evaluate(PLACE_OF, node)
        return left, upper, left + width, upper + height

    def run(self, *, timeout_s: float = WAIT_S) -> Outcome:
        """Press the run button and wait until the graph has ended.

        Raises:
            RefusedError: if the server does not accept the graph.
        """
        status, body = self.do(_press_run)
        if status != 200:
            raise RefusedError(status, body)
        with ComfyClient(self.url) as client:
            return client.wait(body["prompt_id"], timeout_s=timeout_s)

    def screenshot(self, path: Path) -> Path:
        """The window, with the whole graph in view."""
        self.evaluate("async () => { await app.extensionManager.command.execute('Comfy.Canvas.FitView') }")
        self.do(lambda page: page.wait_for_timeout(1000))  # the view glides
        self.evaluate("app.canvas.setDirty(true, true)")  # it is drawn slowly where there is no GPU
        self.do(lambda page: page.wait_for_timeout(1000))
        self.do(lambda page: page.screenshot(path=path, timeout=4 * ACTION_MS))
        return path

    def dialogs(self) -> list[str]:
        """The texts of the dialogs that lie over the canvas."""
        return self.do(lambda page: [box.inner_text() for box in page.get_by_role("dialog").all() if box.is_visible()])

    def console_errors(self) -> list[ConsoleError]:
        """Everybody's: a host without templates and themes has some."""
        return list(self._errors)

    def our_errors(self, pack: str = "skipstep") -> list[ConsoleError]:
        """Those that name the pack, or come from its scripts."""
        return [error for error in self._errors if pack in error.source or pack in error.text]

    def _load_page(self, page: Page) -> None:
        page.set_default_timeout(ACTION_MS)
        page.on("console", self._keep_console)
        page.on("pageerror", self._keep_uncaught)
        page.goto(self.url, wait_until="domcontentloaded")
        page.wait_for_function(READY, timeout=READY_MS)

    def _keep_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(ConsoleError(text=message.text, source=message.location.get("url", "")))

    def _keep_uncaught(self, error: Error) -> None:
        self._errors.append(ConsoleError(text=error.message, source=error.stack or ""))


def is_graph(workflow: Workflow) -> bool:
    """Whether it is in API format."""
    return "nodes" not in workflow


def used_types(workflow: Workflow) -> set[str]:
    """The types of all nodes of a workflow in either format, but not the subgraphs that it defines itself."""
    if is_graph(workflow):
        return {node["class_type"] for node in workflow.values()}
    subgraphs = (workflow.get("definitions") or {}).get("subgraphs", [])
    types = {node["type"] for part in (workflow, *subgraphs) for node in part["nodes"]}
    return types - {subgraph["id"] for subgraph in subgraphs}


def _press_run(page: Page) -> tuple[int, dict[str, Any]]:
    """The status and the answer of the server, to which the frontend sends the graph."""

    def is_queueing(response: Any) -> bool:
        return bool(response.request.method == "POST" and response.url.endswith("/prompt"))

    with page.expect_response(is_queueing) as queued:
        page.get_by_test_id("queue-button").click()
    return queued.value.status, queued.value.json()
