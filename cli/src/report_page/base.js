// base.js: the small tools that the other files of the report page use.
// It knows how to make DOM and SVG nodes, how to write numbers for people, how to lay out an
// axis, and how to show the one tooltip. It knows nothing about runs, blocks or extrinsics.
'use strict';

const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';
const NONE = '\u2013';
const MICRO = '\u00b5';

// ---- Values that may be missing ----

function isNumber(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

function asNumber(value) {
  return isNumber(value) ? value : null;
}

function asList(value) {
  return Array.isArray(value) ? value : [];
}

function asObject(value) {
  return value !== null && typeof value === 'object' ? value : {};
}

function asText(value, otherwise) {
  if (typeof value === 'string' && value !== '') return value;
  return isNumber(value) ? String(value) : otherwise;
}

function ratio(part, whole) {
  return isNumber(part) && isNumber(whole) && whole > 0 ? part / whole : null;
}

// ---- Nodes ----

function fillNode(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'text') node.textContent = value;
    else if (typeof value === 'function') node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of [].concat(children === undefined ? [] : children)) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

function el(tag, attributes, children) {
  return fillNode(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, children) {
  return fillNode(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

function note(text) {
  return el('p', { class: 'note', text });
}

function swatch(colour) {
  return el('span', { class: 'swatch', style: `background:${colour}`, 'aria-hidden': 'true' });
}

// ---- Numbers ----

const WHOLE = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 });
const THREE_PLACES = new Intl.NumberFormat('en-US', { minimumFractionDigits: 3, maximumFractionDigits: 3 });
const SIZES = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
const TIME_UNITS = [[1000, 's'], [1, 'ms'], [1e-3, MICRO + 's'], [1e-6, 'ns']];

function whole(value) {
  return isNumber(value) ? WHOLE.format(value) : NONE;
}

function threePlaces(value) {
  return isNumber(value) ? THREE_PLACES.format(value) : NONE;
}

// Three digits that count: 1,234,567 becomes 1.23M and 0.012345 becomes 0.0123.
function short(value) {
  if (!isNumber(value)) return NONE;
  const size = SIZES.find(([scale]) => Math.abs(value) >= scale * 0.9995);
  return size ? SHORT.format(value / size[0]) + size[1] : SHORT.format(value);
}

function timeUnit(ms) {
  return TIME_UNITS.find(([scale]) => Math.abs(ms) >= scale * 0.9995) || TIME_UNITS[TIME_UNITS.length - 1];
}

function duration(ms) {
  if (!isNumber(ms)) return NONE;
  if (ms === 0) return '0 ms';
  const [scale, name] = timeUnit(ms);
  const value = ms / scale;
  return `${value >= 1000 ? whole(value) : SHORT.format(value)} ${name}`;
}

function percent(part, total) {
  const share = ratio(part, total);
  if (share === null) return NONE;
  return share > 0 && share < 0.001 ? '< 0.1 %' : `${(share * 100).toFixed(1)} %`;
}

function plural(count, noun) {
  return `${whole(count)} ${noun}${count === 1 ? '' : 's'}`;
}

// ---- Axes: an axis has a range, ticks, a way to write a tick, and a label ----

function niceStep(span, count) {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 5].find((one) => raw / power <= one * 1.0001) || 10;
  return factor * power;
}

function linearAxis(low, high, label, text, wholeOnly) {
  const top = high > low ? high : low + (wholeOnly ? 1 : Math.abs(low) || 1);
  let step = niceStep(top - low, 5);
  if (wholeOnly) step = Math.max(1, Math.round(step));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(top / step - 1e-9));
  const ticks = [];
  for (let i = first; i <= last; i += 1) ticks.push(i * step);
  return { log: false, min: ticks[0], max: last * step, ticks, label, text };
}

function logAxis(low, high, label, text) {
  const min = low / 1.1;
  const max = high * 1.1;
  const factors = Math.log10(max / min) < 2.5 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power += 1) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= min && tick <= max) ticks.push(tick);
    }
  }
  return { log: true, min, max, ticks, label, text };
}

// An axis of milliseconds which is labelled in the unit that suits its end.
function timeAxis(low, high, label, log) {
  const [scale, name] = timeUnit(high || 1);
  const text = (ms) => short(ms / scale);
  const full = `${label}, ${name}`;
  return log ? logAxis(low, high, full, text) : linearAxis(0, high, full, text);
}

// The function from a value on the axis to a place between two pixels.
function placeOn(axis, from, to) {
  const map = axis.log ? Math.log : (value) => value;
  const start = map(axis.min);
  const span = map(axis.max) - start || 1;
  return (value) => from + ((map(value) - start) / span) * (to - from);
}

// ---- Redrawing at a new width ----

const resizing = {
  observer: null,
  actions: new WeakMap(),
};

// Forgets the nodes of the page before; called when another run is shown.
function resetResizing() {
  if (resizing.observer) resizing.observer.disconnect();
  resizing.observer = new ResizeObserver((entries) => {
    requestAnimationFrame(() => {
      for (const entry of entries) {
        const action = resizing.actions.get(entry.target);
        if (action) action();
      }
    });
  });
}

// Calls draw(width) now and whenever the width of the box changes.
function drawAtWidth(box, draw) {
  let drawn = 0;
  resizing.actions.set(box, () => {
    const width = Math.floor(box.clientWidth);
    if (width < 40 || width === drawn) return;
    drawn = width;
    draw(width);
  });
  resizing.observer.observe(box);
}

// ---- The tooltip: a title and rows of {name, value, colour} ----

const tooltip = el('div', { class: 'tooltip', role: 'status', 'aria-live': 'polite', hidden: true });

function tooltipRow(row) {
  return el('div', { class: 'tooltip-row' }, [
    row.colour ? swatch(row.colour) : null,
    el('span', { text: row.name }),
    el('span', { class: 'tooltip-value', text: row.value }),
  ]);
}

// x and y are places in the window; the tooltip then scrolls with the page.
function showTooltip(content, x, y) {
  tooltip.replaceChildren(el('strong', { text: content.title }), ...content.rows.map(tooltipRow));
  tooltip.hidden = false;
  const { width, height } = tooltip.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  const left = x + 14 + width < right ? x + 14 : x - 14 - width;
  const top = y - height - 12 > 4 ? y - height - 12 : y + 18;
  tooltip.style.left = `${Math.max(4, Math.min(left, right - width - 4)) + window.scrollX}px`;
  tooltip.style.top = `${top + window.scrollY}px`;
}

function hideTooltip() {
  tooltip.hidden = true;
}
