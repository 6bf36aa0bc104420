// flame.js: draws the flamegraph of a profile and the list of its dearest functions.
// It knows the tree {name, value, own, children}, how to zoom into a node, how to search in
// names, and how to shorten a name so that it fits. It knows nothing about runs.
'use strict';

const FLAME_ROW = 22;
const FLAME_LETTER = 6.7;
const FLAME_TONES = 6;
const LEAST_FLAME_WIDTH = 0.7;
const LEAST_LETTERS = 5;
const FLAME_HELP = 'The top row is everything; a function stands below its caller. '
  + 'Click a function or press Enter to zoom. The arrow keys walk the tree and Escape resets the zoom.';

// ---- The tree ----

// A flat list of nodes, parents first. `from` and `to` are shares of the whole width.
function flattenProfile(rawRoot) {
  const root = readNode(rawRoot, null, 0);
  root.from = 0;
  root.to = 1;
  const nodes = [root];
  for (let at = 0; at < nodes.length; at += 1) {
    const node = nodes[at];
    node.children = asList(node.raw.children)
      .map((child) => readNode(asObject(child), node, node.depth + 1))
      .filter((child) => child.value > 0)
      .sort((a, b) => b.value - a.value);
    placeChildren(node);
    nodes.push(...node.children);
  }
  return nodes;
}

function readNode(raw, parent, depth) {
  const children = asList(raw.children).map((child) => asObject(child).value);
  const sum = (sumOf(children) || 0) + (asNumber(raw.own) || 0);
  const value = Math.max(0, isNumber(raw.value) ? raw.value : sum);
  return { raw, parent, depth, name: asText(raw.name, '(no name)'), value, own: ownValue(raw, value, children) };
}

function ownValue(raw, value, children) {
  return isNumber(raw.own) ? raw.own : Math.max(0, value - (sumOf(children) || 0));
}

// Children share the width of their parent; if they claim too much, all shrink alike.
function placeChildren(node) {
  const claimed = node.children.reduce((sum, child) => sum + child.value, 0);
  const perUnit = (node.to - node.from) / Math.max(node.value, claimed, Number.MIN_VALUE);
  let from = node.from;
  for (const child of node.children) {
    child.from = from;
    child.to = from + child.value * perUnit;
    from = child.to;
  }
}

function isAbove(node, other) {
  for (let up = other.parent; up; up = up.parent) if (up === node) return true;
  return false;
}

// ---- Names ----

// "<a::B<C> as d::E<F>>::g" becomes "a::B::g".
function withoutGenerics(name) {
  let plain = name;
  for (let last = ''; last !== plain;) {
    last = plain;
    plain = plain.replace(/([\w:])<[^<>]*>/g, '$1');
  }
  return plain.replace(/^<(.*?)(?: as .*?)?>/, '$1').replace(/::(?=::|$)/g, '');
}

// The name, then without generics, then its last parts, then cut: the first that fits.
function fitName(name, width) {
  const room = Math.floor((width - 8) / FLAME_LETTER);
  if (room < LEAST_LETTERS) return '';
  const plain = withoutGenerics(name) || name;
  const parts = plain.split('::');
  const forms = [name, plain, parts.slice(-2).join('::'), parts[parts.length - 1]];
  return forms.find((text) => text.length <= room) || `${forms[3].slice(0, room - 2)}..`;
}

// Functions of one crate share a tone.
function toneOf(name) {
  const crate = withoutGenerics(name).replace(/^[&\s]+/, '').split('::')[0];
  let mixed = 2166136261;
  for (const letter of crate) mixed = Math.imul(mixed ^ letter.charCodeAt(0), 16777619);
  return ((mixed ^ (mixed >>> 15)) >>> 0) % FLAME_TONES;
}

// ---- The view: which node is zoomed, what is searched, which node has the focus ----

function flamegraph(profile) {
  const nodes = flattenProfile(asObject(profile.root));
  const total = nodes[0].value;
  if (!(total > 0)) return note('The profile is empty.');
  const view = {
    nodes,
    total,
    unit: asText(profile.unit, 'fuel'),
    zoomed: nodes[0],
    focused: nodes[0],
    search: '',
    box: el('div', { class: 'chart flame' }),
    status: el('p', { class: 'flame-status', 'aria-live': 'polite' }),
    draw: null,
  };
  view.reset = el('button', { type: 'button', class: 'plain', text: 'Reset zoom', click: () => zoomTo(view, nodes[0], false) });
  drawAtWidth(view.box, (width) => {
    view.draw = (keepFocus) => drawFlame(view, width, keepFocus);
    view.draw(false);
  });
  showFlameStatus(view);
  return figure([
    flameControls(view),
    view.box,
    caption(`${plural(nodes.length, 'node')}, ${whole(total)} ${view.unit}. ${FLAME_HELP}`),
  ]);
}

function flameControls(view) {
  const input = el('input', {
    type: 'search',
    placeholder: 'Search functions',
    'aria-label': 'Search functions in the flamegraph',
    input: () => {
      view.search = input.value.trim().toLowerCase();
      showFlameStatus(view);
      if (view.draw) view.draw(false);
    },
  });
  return el('div', { class: 'controls' }, [input, view.reset, view.status]);
}

function matches(view, node) {
  return view.search !== '' && node.name.toLowerCase().includes(view.search);
}

// A match below another match is within it already and adds nothing.
function matchedValue(view) {
  let sum = 0;
  const open = [view.nodes[0]];
  while (open.length) {
    const node = open.pop();
    if (matches(view, node)) sum += node.value;
    else open.push(...node.children);
  }
  return sum;
}

function showFlameStatus(view) {
  view.reset.disabled = view.zoomed === view.nodes[0];
  const zoom = view.zoomed === view.nodes[0] ? '' : `Zoomed to ${percent(view.zoomed.value, view.total)} of all ${view.unit}. `;
  const count = view.nodes.filter((node) => matches(view, node)).length;
  view.status.textContent = zoom + searchResult(view, count);
}

function searchResult(view, count) {
  if (view.search === '') return '';
  if (count === 0) return 'No function matches.';
  const nodes = `${plural(count, 'node')} ${count === 1 ? 'matches' : 'match'}`;
  return `${nodes}, ${percent(matchedValue(view), view.total)} of all ${view.unit}.`;
}

function zoomTo(view, node, keepFocus) {
  view.zoomed = node;
  view.focused = node;
  hideTooltip();
  showFlameStatus(view);
  if (view.draw) view.draw(keepFocus);
}

// ---- Drawing ----

// Nodes above the zoomed one fill the width; nodes below are scaled; others are hidden.
function visibleNodes(view, width) {
  const { from, to } = view.zoomed;
  const scale = width / (to - from || 1);
  return view.nodes
    .map((node) => ({
      node,
      above: isAbove(node, view.zoomed),
      x: Math.max(0, (node.from - from) * scale),
      right: Math.min(width, (node.to - from) * scale),
    }))
    .filter((place) => place.above || place.node === view.zoomed || isAbove(view.zoomed, place.node))
    .filter((place) => place.right - place.x >= LEAST_FLAME_WIDTH);
}

function drawFlame(view, width, keepFocus) {
  const places = visibleNodes(view, width);
  const rows = places.reduce((most, place) => Math.max(most, place.node.depth), 0) + 1;
  const root = canvas(width, rows * FLAME_ROW);
  fillNode(root, { role: 'group', 'aria-label': `Flamegraph of ${view.unit}.` });
  if (!places.some((place) => place.node === view.focused)) view.focused = view.zoomed;
  view.shown = new Map();
  for (const place of places) {
    const node = flameNode(view, place);
    view.shown.set(place.node, node);
    root.append(node);
  }
  view.box.replaceChildren(root);
  if (keepFocus) view.shown.get(view.focused).focus();
}

function flameNode(view, { node, x, right, above }) {
  const width = Math.max(0.5, right - x - (right - x > 3 ? 1 : 0));
  const y = node.depth * FLAME_ROW;
  const names = ['flame-node', `tone-${toneOf(node.name)}`];
  if (above) names.push('flame-above');
  if (view.search !== '') names.push(matches(view, node) ? 'flame-match' : 'flame-other');
  return svg('g', {
    class: names.join(' '),
    role: 'button',
    tabindex: node === view.focused ? '0' : '-1',
    'aria-label': `${node.name}, ${whole(node.value)} ${view.unit}, ${percent(node.value, view.total)}`,
    click: () => zoomTo(view, node, true),
    keydown: (event) => flameKey(view, node, event),
    pointermove: (event) => showTooltip(flameContent(view, node), event.clientX, event.clientY),
    pointerleave: hideTooltip,
    focus: (event) => event.target.matches(':focus-visible') && showFlameFocus(view, node, event.target),
    blur: hideTooltip,
  }, [
    svg('rect', { x, y, width, height: FLAME_ROW - 1 }),
    svg('text', { x: x + 4, y: y + 15, text: fitName(node.name, width) }),
  ]);
}

function flameContent(view, node) {
  return {
    title: node.name,
    rows: [
      { name: view.unit, value: whole(node.value) },
      { name: 'of all', value: percent(node.value, view.total) },
      { name: 'of its caller', value: node.parent ? percent(node.value, node.parent.value) : NONE },
      { name: 'its own', value: `${whole(node.own)}, ${percent(node.own, view.total)}` },
    ],
  };
}

function showFlameFocus(view, node, target) {
  const box = target.getBoundingClientRect();
  showTooltip(flameContent(view, node), box.left + Math.min(box.width / 2, 60), box.top);
}

// ---- Keys ----

function flameKey(view, node, event) {
  const action = {
    Enter: () => zoomTo(view, node, true),
    ' ': () => zoomTo(view, node, true),
    Escape: () => zoomTo(view, view.nodes[0], true),
    ArrowUp: () => focusNode(view, node.parent),
    ArrowDown: () => focusNode(view, node.children[0]),
    ArrowLeft: () => focusNode(view, neighbour(node, -1)),
    ArrowRight: () => focusNode(view, neighbour(node, 1)),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function neighbour(node, step) {
  if (!node.parent) return null;
  return node.parent.children[node.parent.children.indexOf(node) + step];
}

function focusNode(view, node) {
  const next = node && view.shown.get(node);
  if (!next) return;
  view.shown.get(view.focused).setAttribute('tabindex', '-1');
  next.setAttribute('tabindex', '0');
  view.focused = node;
  next.focus();
}

// ---- The dearest functions, as a table ----

function ownByName(nodes) {
  const sums = new Map();
  for (const node of nodes) {
    const sum = sums.get(node.name) || { name: node.name, own: 0, places: 0 };
    sum.own += node.own;
    sum.places += 1;
    sums.set(node.name, sum);
  }
  return [...sums.values()].filter((sum) => sum.own > 0);
}

function dearestFunctions(profile) {
  const nodes = flattenProfile(asObject(profile.root));
  const rows = ownByName(nodes);
  if (rows.length === 0) return null;
  const unit = asText(profile.unit, 'fuel');
  return dataTable({
    label: 'Functions by their own cost',
    noun: 'function',
    size: rows.length,
    step: 15,
    start: { column: 0, descending: true },
    filter: textFilter((row) => rows[row].name),
    placeholder: 'Filter by name',
    columns: [
      { label: `own ${unit}`, value: (row) => rows[row].own, text: whole },
      { label: 'of all', value: (row) => rows[row].own, text: (own) => percent(own, nodes[0].value) },
      { label: 'nodes', value: (row) => rows[row].places, text: whole, help: 'in how many nodes of the flamegraph it stands' },
      { label: 'function', value: (row) => rows[row].name, kind: 'code' },
    ],
  });
}
