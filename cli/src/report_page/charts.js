// charts.js: draws the charts as inline SVG.
// It knows axes, columns, lines, bars and points, and how a reader walks over the items of a
// chart with the pointer or the arrow keys. It takes runs as model.js makes them.
'use strict';

const CHART_HEIGHT = 250;
const SVG_LETTER = 6.6;
const LEAST_TICK_LETTERS = 4; // Charts under each other line up.
const MARK_PATHS = [
  'M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z',
  'M-3 -3h6v6h-6z',
  'M0 -4.4L4.4 0L0 4.4L-4.4 0z',
  'M0 -4L4 3.5H-4z',
  'M0 4L4 -3.5H-4z',
  'M-4 -1.3h2.7v-2.7h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7z',
];

// ---- The box of a chart ----

// Makes a box that calls draw(width), which returns {root, area, items, near}, at each width.
function chartBox(label, draw) {
  const box = el('div', { class: 'chart' });
  drawAtWidth(box, (width) => {
    const drawing = draw(width);
    fillNode(drawing.root, { role: 'img', tabindex: '0', 'aria-label': `${label} Use the arrow keys to read the values.` });
    attachCursor(drawing);
    box.replaceChildren(drawing.root);
  });
  return box;
}

function figure(parts) {
  return el('figure', {}, parts);
}

function caption(text) {
  return el('figcaption', { text });
}

// ---- The cursor: one item at a time, by pointer or by keys ----

// An item is {x, y, width, content}; items are sorted by x. With near = 'x' the nearest column
// counts, with near = 'point' the nearest point.
function attachCursor(drawing) {
  if (drawing.items.length === 0) return;
  const { root, items, near } = drawing;
  const cursor = makeCursor(drawing);
  const point = (event) => {
    const at = nearest(items, near, placeInDrawing(root, event));
    cursor.show(at, { x: event.clientX, y: event.clientY });
  };
  const keydown = (event) => {
    const next = stepFor(event.key, cursor.at, items.length);
    if (event.key === 'Escape') cursor.hide();
    if (next === null) return;
    event.preventDefault();
    cursor.show(next, null);
  };
  fillNode(root, {
    keydown,
    pointermove: point,
    pointerdown: point,
    pointerleave: (event) => event.pointerType === 'mouse' && cursor.hide(),
    focus: () => root.matches(':focus-visible') && cursor.show(Math.max(0, cursor.at), null),
    blur: () => cursor.hide(),
  });
}

// The mark and the tooltip of one chart. Without a place of its own the tooltip stands at the item.
function makeCursor({ root, area, items, near }) {
  const mark = near === 'x' ? svg('rect', { class: 'cursor' }) : svg('circle', { class: 'cursor', r: 7 });
  mark.style.display = 'none';
  root.append(mark);
  const cursor = { at: -1 };
  cursor.hide = () => {
    mark.style.display = 'none';
    hideTooltip();
  };
  cursor.show = (at, client) => {
    if (at < 0) return cursor.hide();
    cursor.at = at;
    moveMark(mark, area, items[at]);
    const place = client || placeInClient(root, area, items[at], near);
    return showTooltip(items[at].content, place.x, place.y);
  };
  return cursor;
}

function stepFor(key, at, count) {
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: count - 1 }[key];
  return next === undefined ? null : Math.max(0, Math.min(count - 1, next));
}

function moveMark(mark, area, item) {
  mark.style.display = '';
  if (mark.tagName === 'circle') return fillNode(mark, { cx: item.x, cy: item.y });
  return fillNode(mark, { x: item.x, width: item.width, y: area.top, height: area.bottom - area.top });
}

function scaleOf(root) {
  const box = root.getBoundingClientRect();
  return { box, scale: box.width / root.viewBox.baseVal.width || 1 };
}

function placeInDrawing(root, event) {
  const { box, scale } = scaleOf(root);
  return { x: (event.clientX - box.left) / scale, y: (event.clientY - box.top) / scale };
}

function placeInClient(root, area, item, near) {
  const { box, scale } = scaleOf(root);
  const x = item.x + (near === 'x' ? item.width / 2 : 0);
  const y = near === 'x' ? area.top + 20 : item.y;
  return { x: box.left + x * scale, y: box.top + y * scale };
}

function nearest(items, near, place) {
  let best = -1;
  let least = near === 'x' ? Infinity : 40 * 40;
  items.forEach((item, at) => {
    const across = near === 'x' ? item.x + item.width / 2 - place.x : item.x - place.x;
    const distance = across ** 2 + (near === 'x' ? 0 : (item.y - place.y) ** 2);
    if (distance < least) {
      best = at;
      least = distance;
    }
  });
  return best;
}

// ---- Frames and axes ----

function line(x1, y1, x2, y2, name) {
  return svg('line', { x1, y1, x2, y2, class: name });
}

function label(x, y, text, anchor, name) {
  return svg('text', { x, y, 'text-anchor': anchor, class: name, text });
}

function canvas(width, height) {
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height });
}

// An empty plot with its y axis: grid lines, tick labels, and the label above the axis.
function frame(width, height, yAxis) {
  const letters = Math.max(...yAxis.ticks.map((tick) => yAxis.text(tick).length), LEAST_TICK_LETTERS);
  const area = { left: letters * SVG_LETTER + 10, right: width - 12, top: 26, bottom: height - 40 };
  const root = canvas(width, height);
  const y = placeOn(yAxis, area.bottom, area.top);
  for (const tick of yAxis.ticks) {
    root.append(line(area.left, y(tick), area.right, y(tick), 'grid'));
    root.append(label(area.left - 6, y(tick) + 4, yAxis.text(tick), 'end', 'tick'));
  }
  root.append(label(0, 12, yAxis.label, 'start', 'axis-label'));
  return { root, area, y };
}

function baseLine({ root, area }, name) {
  root.append(line(area.left, area.bottom, area.right, area.bottom, 'axis'));
  root.append(label((area.left + area.right) / 2, area.bottom + 34, name, 'middle', 'axis-label'));
}

function tickBelow({ root, area }, x, text) {
  const half = (text.length * SVG_LETTER) / 2;
  const at = Math.min(x, area.right + 12 - half);
  root.append(line(x, area.bottom, x, area.bottom + 4, 'axis'));
  root.append(label(at, area.bottom + 17, text, 'middle', 'tick'));
}

// A value axis along the bottom; ticks that would touch the one before are left out.
function valueAxisBelow(plot, xAxis) {
  const x = placeOn(xAxis, plot.area.left, plot.area.right);
  let free = -Infinity;
  for (const tick of xAxis.ticks) {
    const text = xAxis.text(tick);
    const half = (text.length * SVG_LETTER) / 2 + 5;
    if (x(tick) - half < free) continue;
    tickBelow(plot, x(tick), text);
    free = x(tick) + half;
  }
  baseLine(plot, xAxis.label);
  return x;
}

// Block numbers along the bottom.
function blockAxisBelow(plot, groups) {
  const room = plot.area.right - plot.area.left;
  const width = room / groups.length;
  for (const tick of blockTicks(groups, Math.max(1, room / 64))) {
    tickBelow(plot, plot.area.left + (tick.at + 0.5) * width, String(tick.number));
  }
  baseLine(plot, 'block');
  return (at) => ({ x: plot.area.left + at * width, width });
}

// Round block numbers when they suit the groups, else the number of every so many groups.
function blockTicks(groups, most) {
  const step = Math.max(1, Math.round(niceStep(groups[groups.length - 1].last - groups[0].number + 1, most)));
  const round = groups
    .map((group, at) => ({ at, number: Math.ceil(group.number / step) * step }))
    .filter((tick) => tick.number <= groups[tick.at].last);
  if (round.length > 1 && round.length <= most + 1) return round;
  const every = Math.ceil(groups.length / most);
  return groups.map((group, at) => ({ at, number: group.number })).filter((tick) => tick.at % every === 0);
}

function failureMarks({ root, area }, groups, column) {
  groups.forEach((group, at) => {
    if (!group.failed) return;
    const { x, width } = column(at);
    const middle = x + width / 2;
    root.append(line(middle, area.top, middle, area.bottom, 'failure'));
    root.append(svg('path', { d: `M${middle} ${area.top + 6}l-5 -8h10z`, class: 'failure-head' }));
  });
}

// ---- Time per phase ----

function phaseColour(name) {
  return `var(--phase-${name})`;
}

function phaseRows(values) {
  const total = values.reduce((sum, value) => sum + value, 0);
  return PHASES.map(([name], at) => ({
    name,
    value: `${duration(values[at])}, ${percent(values[at], total)}`,
    colour: phaseColour(name),
  }));
}

function phaseLegend(values) {
  const total = values.reduce((sum, value) => sum + value, 0);
  const entries = PHASES.map(([name, help], at) => el('li', {}, [
    swatch(phaseColour(name)),
    el('span', { class: 'legend-name', text: name }),
    el('span', { class: 'legend-value', text: duration(values[at]) }),
    el('span', { class: 'legend-share', text: percent(values[at], total) }),
    el('span', { class: 'legend-help', text: help }),
  ]));
  return el('ul', { class: 'legend-grid' }, entries);
}

// One bar from left to right, a segment for each phase.
function phaseBar(values) {
  const total = values.reduce((sum, value) => sum + value, 0);
  const text = phaseRows(values).map((row) => `${row.name} ${row.value}`).join('; ');
  return chartBox(`Time per phase of the whole run: ${text}.`, (width) => {
    const root = canvas(width, 44);
    const area = { left: 0, right: width, top: 0, bottom: 44 };
    const rows = phaseRows(values);
    const items = [];
    let x = 0;
    PHASES.forEach(([name], at) => {
      const size = (ratio(values[at], total) || 0) * width;
      if (size > 0) items.push({ x, width: size, content: { title: name, rows: [{ ...rows[at], name: PHASES[at][1] }] } });
      root.append(...segment(name, x, size, percent(values[at], total)));
      x += size;
    });
    return { root, area, items, near: 'x' };
  });
}

function segment(name, x, size, share) {
  const nodes = [svg('rect', { x, y: 0, width: size, height: 44, class: 'segment', style: `fill:${phaseColour(name)}` })];
  const style = `fill:var(--ink-${name === 'wasm' ? 'wasm' : 'phase'})`;
  if (size > name.length * SVG_LETTER + 12) {
    nodes.push(svg('text', { x: x + 7, y: 19, class: 'segment-name', style, text: name }));
    nodes.push(svg('text', { x: x + 7, y: 35, class: 'segment-share', style, text: share.replace(' %', '%') }));
  }
  return nodes;
}

function phasesOverBlocks(run, groups) {
  const sums = groups.map((group) => (group.phases ? group.phases.reduce((sum, value) => sum + value, 0) : 0));
  const title = `Time per phase over ${plural(run.totals.blocks, 'block')}.`;
  return chartBox(title, (width) => {
    const plot = frame(width, CHART_HEIGHT, timeAxis(0, Math.max(...sums), 'time of a block'));
    const column = blockAxisBelow(plot, groups);
    PHASES.forEach(([name], at) => plot.root.append(phasePath(groups, at, column, plot.y, name)));
    failureMarks(plot, groups, column);
    const items = groups.map((group, at) => ({
      ...column(at),
      content: { title: group.title, rows: groupPhaseRows(group, sums[at]) },
    }));
    return { ...plot, items, near: 'x' };
  });
}

function groupPhaseRows(group, sum) {
  if (!group.phases) return [{ name: 'phases', value: 'not measured' }];
  return [{ name: 'all', value: duration(sum) }, ...phaseRows(group.phases)];
}

// All columns of one phase as one path, each on top of the phases before it.
function phasePath(groups, phase, column, y, name) {
  const parts = groups.map((group, at) => {
    if (!group.phases || !(group.phases[phase] > 0)) return '';
    const below = group.phases.slice(0, phase).reduce((sum, value) => sum + value, 0);
    return bar(column(at), y(below), y(below + group.phases[phase]));
  });
  return svg('path', { d: parts.join(''), style: `fill:${phaseColour(name)}` });
}

function bar({ x, width }, low, high) {
  const gap = width > 5 ? Math.min(12, width * 0.15) : 0;
  const wide = Math.min(width - gap, 90);
  const left = x + (width - wide) / 2;
  return `M${left.toFixed(2)} ${low.toFixed(2)}h${wide.toFixed(2)}V${high.toFixed(2)}h${(-wide).toFixed(2)}z`;
}

// ---- Lines over blocks ----

// A line over blocks with its median; spec says {name, axis, value, text}.
function lineOverBlocks(groups, spec) {
  const values = groups.map(spec.value);
  const middle = median(values);
  const title = `${spec.name} over ${plural(groups.length, 'column')}; the median is ${spec.text(middle)}.`;
  return chartBox(title, (width) => {
    const plot = frame(width, CHART_HEIGHT - 40, spec.axis(Math.max(...values.filter(isNumber), 0)));
    const column = blockAxisBelow(plot, groups);
    const middleOf = ({ x, width: wide }) => x + wide / 2;
    const points = values.map((value, at) => (isNumber(value) ? { x: middleOf(column(at)), y: plot.y(value) } : null));
    plot.root.append(...linePaths(points, plot.area.bottom, spec.colour));
    failureMarks(plot, groups, column);
    medianLine(plot, middle, spec.text(middle));
    const items = groups.map((group, at) => ({ ...column(at), content: lineContent(group, spec, values[at]) }));
    return { ...plot, items, near: 'x' };
  });
}

function lineContent(group, spec, value) {
  const rows = [{ name: spec.name, value: spec.text(value), colour: spec.colour }];
  if (group.size > 1) rows.push({ name: 'slowest block', value: duration(group.slowest) });
  rows.push({ name: 'extrinsics', value: whole(group.count) });
  if (group.failed) rows.push({ name: 'verdict', value: 'failed' });
  return { title: group.title, rows };
}

function linePaths(points, bottom, colour) {
  const nodes = [];
  for (const stretch of stretches(points)) {
    const path = stretch.map((point) => `${point.x.toFixed(2)} ${point.y.toFixed(2)}`).join('L');
    const ends = [stretch[0].x, stretch[stretch.length - 1].x];
    const under = `M${ends[0]} ${bottom}L${path}L${ends[1]} ${bottom}z`;
    nodes.push(svg('path', { d: under, class: 'line-area', style: `fill:${colour}` }));
    nodes.push(svg('path', { d: `M${path}`, class: 'line', style: `stroke:${colour}` }));
  }
  if (points.length > 60) return nodes;
  const dots = points.filter((point) => point !== null);
  return nodes.concat(dots.map((point) => svg('circle', { cx: point.x, cy: point.y, r: 3, style: `fill:${colour}` })));
}

// The longest lists of neighbours without a missing point.
function stretches(points) {
  const found = [];
  let open = null;
  for (const point of points) {
    if (point === null) {
      open = null;
    } else if (open) {
      open.push(point);
    } else {
      open = [point];
      found.push(open);
    }
  }
  return found;
}

function medianLine({ root, area, y }, middle, text) {
  if (middle === null) return;
  root.append(line(area.left, y(middle), area.right, y(middle), 'median'));
  root.append(label(area.right, 12, `median ${text}`, 'end', 'axis-label'));
  const start = area.right - (text.length + 8) * SVG_LETTER - 34;
  root.append(line(start, 8, start + 26, 8, 'median'));
}

// ---- Outcomes ----

function outcomeLegend(extrinsics, shapes) {
  const entries = outcomeOrder(extrinsics).map((number) => {
    const style = outcomeStyle(extrinsics.outcomes, number);
    const colour = outcomeColour(extrinsics.outcomes, number);
    const mark = svg('path', {
      d: MARK_PATHS[shapes ? style : 1], transform: 'translate(6 6) scale(1.3)', style: `fill:${colour}`,
    });
    return el('li', {}, [
      svg('svg', { width: 12, height: 12, viewBox: '0 0 12 12', 'aria-hidden': 'true' }, [mark]),
      el('span', { text: `${extrinsics.outcomes[number]} (${whole(extrinsics.perOutcome[number])})` }),
    ]);
  });
  return el('ul', { class: 'legend-row' }, entries);
}

// ---- Fuel per extrinsic ----

function fuelHistogram(extrinsics, range) {
  const least = range.zero ? 0 : range.least;
  const title = `Histogram of the fuel of ${plural(range.known, 'extrinsic')}, from ${short(least)} to ${short(range.greatest)}.`;
  return chartBox(title, (width) => {
    const xAxis = range.wide
      ? logAxis(range.least, range.greatest, 'fuel of an extrinsic (log scale)', short)
      : linearAxis(least === range.greatest ? 0 : least, range.greatest, 'fuel of an extrinsic', short);
    const bins = fillBins(extrinsics, xAxis, Math.max(8, Math.min(48, Math.floor(width / 18))));
    const most = Math.max(...bins.map((bin) => bin.count), 1);
    const plot = frame(width, CHART_HEIGHT, linearAxis(0, most, 'extrinsics', short, true));
    valueAxisBelow(plot, xAxis);
    const step = (plot.area.right - plot.area.left) / bins.length;
    const column = (at) => ({ x: plot.area.left + at * step, width: step });
    for (const outcome of outcomeOrder(extrinsics)) plot.root.append(binPath(extrinsics, bins, outcome, column, plot.y));
    const items = bins.map((bin, at) => ({ ...column(at), content: binContent(extrinsics, bin, range.known) }));
    return { ...plot, items, near: 'x' };
  });
}

// The value at a share of the length of the axis.
function valueAt(axis, share) {
  if (axis.log) return axis.min * (axis.max / axis.min) ** share;
  return axis.min + (axis.max - axis.min) * share;
}

// Counts extrinsics by bin and outcome. Bins are equally wide on the axis.
function fillBins(extrinsics, axis, size) {
  const where = placeOn(axis, 0, size);
  const edge = (at) => valueAt(axis, at / size);
  const bins = Array.from({ length: size }, (unused, at) => ({
    low: edge(at), high: edge(at + 1), count: 0, outcomes: extrinsics.outcomes.map(() => 0),
  }));
  for (let row = 0; row < extrinsics.size; row += 1) {
    const fuel = extrinsics.fuel[row];
    if (!(fuel >= 0) || (axis.log && fuel <= 0)) continue;
    const bin = bins[Math.max(0, Math.min(size - 1, Math.floor(where(fuel))))];
    bin.count += 1;
    bin.outcomes[extrinsics.outcome[row]] += 1;
  }
  return bins;
}

function binPath(extrinsics, bins, outcome, column, y) {
  const before = outcomeOrder(extrinsics);
  before.length = before.indexOf(outcome);
  const parts = bins.map((bin, at) => {
    if (bin.outcomes[outcome] === 0) return '';
    const below = before.reduce((sum, other) => sum + bin.outcomes[other], 0);
    const low = y(below);
    return bar(column(at), low, Math.min(y(below + bin.outcomes[outcome]), low - 1));
  });
  return svg('path', { d: parts.join(''), style: `fill:${outcomeColour(extrinsics.outcomes, outcome)}` });
}

function binContent(extrinsics, bin, known) {
  const rows = outcomeOrder(extrinsics)
    .filter((outcome) => bin.outcomes[outcome] > 0)
    .map((outcome) => ({
      name: extrinsics.outcomes[outcome],
      value: whole(bin.outcomes[outcome]),
      colour: outcomeColour(extrinsics.outcomes, outcome),
    }));
  return {
    title: `Fuel ${short(bin.low)} to ${short(bin.high)}`,
    rows: [{ name: 'extrinsics', value: `${whole(bin.count)}, ${percent(bin.count, known)}` }, ...rows],
  };
}

// ---- Fuel against time ----

function fuelScatter(extrinsics, sample, fit, log) {
  const rows = log ? sample.filter((row) => extrinsics.fuel[row] > 0 && extrinsics.ms[row] > 0) : sample;
  const fuels = rows.map((row) => extrinsics.fuel[row]);
  const times = rows.map((row) => extrinsics.ms[row]);
  return chartBox(`Scatter of fuel against time, ${plural(rows.length, 'point')}.`, (width) => {
    const yAxis = timeAxis(Math.min(...times), Math.max(...times, 0), 'time of an extrinsic', log && rows.length > 0);
    const xAxis = log && rows.length > 0
      ? logAxis(Math.min(...fuels), Math.max(...fuels), 'fuel of an extrinsic (log scale)', short)
      : linearAxis(0, Math.max(...fuels, 0), 'fuel of an extrinsic', short);
    const plot = frame(width, CHART_HEIGHT + 90, yAxis);
    const x = valueAxisBelow(plot, xAxis);
    const items = rows
      .map((row) => ({ row, x: x(extrinsics.fuel[row]), y: plot.y(extrinsics.ms[row]), content: pointContent(extrinsics, row) }))
      .sort((a, b) => a.x - b.x);
    plot.root.append(...commonFirst(extrinsics, items).map((item) => pointMark(extrinsics, item)));
    if (fit) plot.root.append(fitPath(fit, xAxis, yAxis, x, plot.y));
    return { ...plot, items, near: 'point' };
  });
}

// Rare outcomes are drawn last, so that they lie on top.
function commonFirst(extrinsics, items) {
  const count = (item) => extrinsics.perOutcome[extrinsics.outcome[item.row]];
  return [...items].sort((a, b) => count(b) - count(a));
}

function pointMark(extrinsics, { row, x, y }) {
  const outcome = extrinsics.outcome[row];
  return svg('path', {
    d: MARK_PATHS[outcomeStyle(extrinsics.outcomes, outcome)],
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
    class: 'point',
    style: `fill:${outcomeColour(extrinsics.outcomes, outcome)}`,
  });
}

function pointContent(extrinsics, row) {
  const outcome = extrinsics.outcome[row];
  const fuel = extrinsics.fuel[row];
  const ms = extrinsics.ms[row];
  return {
    title: `Block ${extrinsics.block[row]}, extrinsic ${extrinsics.index[row]}`,
    rows: [
      { name: extrinsics.outcomes[outcome], value: '', colour: outcomeColour(extrinsics.outcomes, outcome) },
      { name: 'fuel', value: whole(fuel) },
      { name: 'time', value: duration(ms) },
      { name: 'ns per fuel', value: fuel > 0 ? short((ms * 1e6) / fuel) : NONE },
    ],
  };
}

// The line in many short pieces: on log axes it is a curve. Pieces off the plot are left out.
function fitPath(fit, xAxis, yAxis, x, y) {
  const pieces = 200;
  const points = [];
  for (let piece = 0; piece <= pieces; piece += 1) {
    const fuel = valueAt(xAxis, piece / pieces);
    const ms = fit.base + fit.slope * fuel;
    if (ms >= yAxis.min && ms <= yAxis.max) points.push(`${x(fuel).toFixed(1)} ${y(ms).toFixed(1)}`);
  }
  return svg('path', { d: points.length ? `M${points.join('L')}` : '', class: 'fit' });
}
