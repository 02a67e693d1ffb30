// Shows the text that a node of skipstep sends with its result, in the node itself.
import { app } from "../../../scripts/app.js";

// this file is /extensions/FOLDER/js/text.js
const PACK = `custom_nodes.${decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3))}`;
const NAME = "skipstep_text";
const WIDTH = 420;
const FONT = 12; // pixels, as are the following
const LETTER = 7.3;
const LINE = 16;
const MARGIN = 36;

function isOurs(node) {
  return node?.constructor?.nodeData?.python_module === PACK; // with those that have OneDiff's names
}

function textWidget(node) {
  const known = node.widgets?.find((widget) => widget.name === NAME);
  if (known) return known;
  const { widget } = app.widgets.STRING(node, NAME, ["STRING", { multiline: true, placeholder: " " }], app);
  widget.serialize = false; // not saved in the workflow
  widget.options.serialize = false; // nor sent with the prompt
  widget.options.read_only = true;
  widget.options.getMinHeight = () => MARGIN + LINE * lines(widget.value, node.size[0]);
  widget.label = "latest run";
  widget.element.readOnly = true;
  widget.element.style.fontSize = `${FONT}px`;
  widget.element.setAttribute("aria-label", widget.label);
  return widget;
}

function lines(text, width) {
  const letters = Math.max(20, Math.floor((width - MARGIN) / LETTER));
  return text.split("\n").reduce((count, line) => count + Math.max(1, Math.ceil(line.length / letters)), 0);
}

function show(node, output) {
  if (!output?.text?.length) return;
  const widget = textWidget(node);
  const wide = Math.max(node.size[0], WIDTH);
  node.setSize([wide, node.size[1]]);
  widget.value = output.text.join("\n");
  node.setSize([wide, Math.max(node.size[1], node.computeSize()[1])]);
  app.canvas.setDirty(true, false);
}

// `7`, or of a node in a subgraph `5a0c…:7`
function nodeOf(locator) {
  const [id, subgraph] = String(locator).split(":").reverse();
  const root = app.rootGraph ?? app.graph;
  const graph = subgraph ? root.subgraphs.get(subgraph) : root;
  return graph?.getNodeById(Number(id));
}

app.registerExtension({
  name: "skipstep.text",
  nodeCreated(node) {
    if (!isOurs(node)) return;
    // those that have text to tell give it as an output, too
    if (node.outputs?.some((output) => output.type === "STRING")) textWidget(node);
    const added = node.onAdded;
    node.onAdded = function () {
      added?.apply(this, arguments);
      // newer frontends give widgets the values of the graph before, where neither graph has an id of its own
      const known = this.widgets?.find((widget) => widget.name === NAME);
      if (known) known.value = "";
    };
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      show(this, output);
    };
  },
  // a workflow was opened again, whose results are still known
  onNodeOutputsUpdated(outputs) {
    for (const [locator, output] of Object.entries(outputs)) {
      const node = nodeOf(locator);
      if (isOurs(node)) show(node, output);
    }
  },
});
