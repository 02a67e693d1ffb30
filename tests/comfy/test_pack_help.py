"""Help pages: one for every node, in both languages, complete, and where the frontend asks for them."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from comfy_host.base import PackLink
from comfy_host.folder import REPOSITORY
from host.client import ComfyClient
from host.offered import inputs_of, our_nodes
from host.servers import Servers

FOLDER = REPOSITORY / "comfy_nodes" / "web" / "docs"
HEADINGS = {
    "": ("## Inputs", "## Output", "## Example", "## Limits"),
    "/zh": ("## 输入", "## 输出", "## 示例", "## 限制"),
}


def default_of(options: dict[str, Any]) -> str | None:
    """As a page has it, where it is short and not a file of this machine."""
    default = options.get("default")
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    return f"{default:g}"


def stated(page: str) -> list[str]:
    """The numbers of the tables, plainly written."""
    return [f"{float(number):g}" for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])", page)]


@pytest.mark.parametrize("language", HEADINGS)
def test_every_node_has_a_page_that_names_its_inputs_and_outputs(client: ComfyClient, language: str) -> None:
    nodes = our_nodes(client)
    assert len(nodes) > 5
    for name, node in nodes.items():
        page = (FOLDER / f"{name}{language}.md").read_text(encoding="utf-8")
        assert all(heading in page for heading in HEADINGS[language]), name
        missing = [f"`{key}`" for key in (*inputs_of(node), *node["output_name"]) if f"`{key}`" not in page]
        assert missing == [], name
        defaults = {key: default_of(options) for key, options in inputs_of(node).items()}
        wrong = [key for key, default in defaults.items() if default is not None and default not in stated(page)]
        assert wrong == [], name


def test_there_is_no_page_of_a_node_that_is_gone(client: ComfyClient) -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")} | {path.parent.name for path in FOLDER.glob("*/*.md")}
    assert pages == set(our_nodes(client))


@pytest.mark.parametrize("link", get_args(PackLink))
def test_the_frontend_gets_them(servers: Servers, link: PackLink) -> None:
    with ComfyClient(servers.get(link).url) as client:
        for page in (FOLDER / "SkipstepReport.md", FOLDER / "SkipstepReport" / "zh.md"):
            answer = client.get(f"/extensions/skipstep/docs/{page.relative_to(FOLDER).as_posix()}")
            assert answer.content == page.read_bytes()
