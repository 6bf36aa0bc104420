// model.js: reads the data of the report and turns it into a form that is quick to draw.
// It knows the names of the fields, what may be missing, and the sums and samples that the
// charts and tables show. It makes no nodes.
'use strict';

const PHASES = [
  ['instantiate', 'making or taking an instance'],
  ['wasm', 'in the guest'],
  ['host', 'in host functions'],
  ['storage', 'reading state within host functions'],
  ['reset', 'putting the instance back'],
  ['root', 'state roots'],
  ['commit', 'writing the block'],
  ['other', 'the rest'],
];
const KNOWN_OUTCOMES = ['applied', 'dispatch_error', 'invalid', 'trap', 'out_of_fuel',
  'no_fuel_left', 'stack_exhausted'];
const MOST_GROUPS = 300;
const MOST_POINTS = 3000;
const LEAST_POINTS_OF_AN_OUTCOME = 100;

function readReport(text) {
  let data = null;
  try {
    data = JSON.parse(text);
  } catch (error) {
    return null;
  }
  if (data === null || typeof data !== 'object') return null;
  return {
    kind: asText(data.kind, 'report'),
    program: asText(data.program, 'slackwater'),
    machine: asObject(data.machine),
    runs: asList(data.runs).map((run, at) => readRun(asObject(run), at)),
    profile: data.profile && data.profile.root ? data.profile : null,
  };
}

function readRun(raw, at) {
  const sources = asList(raw.blocks).map(asObject);
  const blocks = sources.map((block, at) => readBlock(block, at, raw.path === 'whole'));
  const run = {
    name: asText(raw.name, `run ${at + 1}`),
    mode: asText(raw.mode, NONE),
    path: asText(raw.path, NONE),
    threads: asText(raw.threads, NONE),
    meter: asText(raw.fuel_meter, NONE),
    ok: raw.ok,
    result: asText(raw.result, ''),
    error: asText(raw.error, null),
    divergence: raw.divergence && typeof raw.divergence === 'object' ? raw.divergence : null,
    blocks,
    extrinsics: readExtrinsics(sources, blocks),
  };
  run.totals = sumRun(run, asNumber(raw.seconds));
  return run;
}

function readBlock(raw, at, isWhole) {
  const extrinsics = asList(raw.extrinsics);
  return {
    number: isNumber(raw.number) ? raw.number : at,
    ok: raw.ok,
    root: asText(raw.state_root, null),
    start: asNumber(raw.start_ms),
    ms: asNumber(raw.ms),
    phases: readPhases(raw.phases),
    fuel: blockFuel(raw, extrinsics),
    count: countExtrinsics(raw, extrinsics, isWhole),
    initialize: asObject(raw.initialize),
    finalize: asObject(raw.finalize),
  };
}

// The whole path lists no extrinsics, so that their number is not known unless it is told.
function countExtrinsics(raw, extrinsics, isWhole) {
  if (isNumber(raw.extrinsic_count)) return raw.extrinsic_count;
  return isWhole && extrinsics.length === 0 ? null : extrinsics.length;
}

function readPhases(raw) {
  if (!raw || typeof raw !== 'object') return null;
  return PHASES.map(([name]) => Math.max(0, asNumber(raw[name]) || 0));
}

// The fuel of the block, or else the sum of its steps when any of them has a number.
function blockFuel(raw, extrinsics) {
  if (isNumber(raw.fuel)) return raw.fuel;
  const steps = [raw.initialize, ...extrinsics, raw.finalize];
  return sumOf(steps.map((step) => asObject(step).fuel));
}

// The sum of the numbers, or null when there is none.
function sumOf(values) {
  let sum = null;
  for (const value of values) if (isNumber(value)) sum = (sum || 0) + value;
  return sum;
}

// ---- Extrinsics, as columns: a report may hold a million of them ----

function readExtrinsics(sources, blocks) {
  const size = sources.reduce((sum, block) => sum + asList(block.extrinsics).length, 0);
  const columns = {
    size,
    block: new Float64Array(size),
    index: new Float64Array(size),
    fuel: new Float64Array(size),
    ms: new Float64Array(size),
    outcome: new Uint16Array(size),
    outcomes: [],
    perOutcome: [],
  };
  const numbers = new Map();
  let row = 0;
  sources.forEach((source, at) => {
    asList(source.extrinsics).forEach((raw, index) => {
      readExtrinsic(columns, row, asObject(raw), index, blocks[at].number, numbers);
      row += 1;
    });
  });
  return columns;
}

// A missing number is NaN in the columns.
function readExtrinsic(columns, row, raw, index, block, numbers) {
  const outcome = asText(raw.outcome, 'unknown');
  if (!numbers.has(outcome)) {
    numbers.set(outcome, columns.outcomes.length);
    columns.outcomes.push(outcome);
    columns.perOutcome.push(0);
  }
  const number = numbers.get(outcome);
  columns.block[row] = block;
  columns.index[row] = isNumber(raw.index) ? raw.index : index;
  columns.fuel[row] = isNumber(raw.fuel) ? raw.fuel : NaN;
  columns.ms[row] = isNumber(raw.ms) ? raw.ms : NaN;
  columns.outcome[row] = number;
  columns.perOutcome[number] += 1;
}

// The colour and the shape of an outcome, the same in every chart.
function outcomeColour(outcomes, number) {
  return `var(--outcome-${outcomeStyle(outcomes, number)})`;
}

function outcomeStyle(outcomes, number) {
  const known = KNOWN_OUTCOMES.indexOf(outcomes[number]);
  return known >= 0 ? known : KNOWN_OUTCOMES.length;
}

// Outcomes with the well known ones first, so that the stack keeps its order.
function outcomeOrder(extrinsics) {
  return extrinsics.outcomes
    .map((name, number) => number)
    .sort((a, b) => outcomeStyle(extrinsics.outcomes, a) - outcomeStyle(extrinsics.outcomes, b) || a - b);
}

// ---- Sums ----

function sumRun(run, seconds) {
  const blockMs = sumOf(run.blocks.map((block) => block.ms));
  const time = seconds !== null ? seconds : blockMs !== null ? blockMs / 1000 : null;
  const count = run.blocks.length === 0 ? 0 : sumOf(run.blocks.map((block) => block.count));
  const measured = run.blocks.filter((block) => block.phases);
  return {
    seconds: time,
    blockMs,
    blocks: run.blocks.length,
    extrinsics: count,
    failed: run.blocks.filter((block) => block.ok === false).length,
    fuel: sumOf(run.blocks.map((block) => block.fuel)),
    initializeFuel: sumOf(run.blocks.map((block) => block.initialize.fuel)),
    finalizeFuel: sumOf(run.blocks.map((block) => block.finalize.fuel)),
    extrinsicFuel: sumOf(run.extrinsics.fuel),
    blocksPerSecond: ratio(run.blocks.length, time),
    extrinsicsPerSecond: count > 0 ? ratio(count, time) : null,
    phases: measured.length ? addPhases(measured) : null,
    measuredBlocks: measured.length,
  };
}

function addPhases(blocks) {
  return PHASES.map((phase, at) => blocks.reduce((sum, block) => sum + block.phases[at], 0));
}

function median(values) {
  const sorted = values.filter(isNumber).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// ---- Blocks in groups: one column of a chart is one group ----

function groupBlocks(blocks) {
  const size = Math.max(1, Math.ceil(blocks.length / MOST_GROUPS));
  const groups = [];
  for (let at = 0; at < blocks.length; at += size) groups.push(makeGroup(blocks.slice(at, at + size)));
  return groups;
}

function makeGroup(blocks) {
  const first = blocks[0].number;
  const last = blocks[blocks.length - 1].number;
  const timed = blocks.filter((block) => block.ms !== null);
  const measured = blocks.filter((block) => block.phases);
  const ms = sumOf(timed.map((block) => block.ms));
  const count = sumOf(timed.map((block) => block.count));
  return {
    title: blocks.length === 1 ? `Block ${first}` : `Blocks ${first} to ${last}, mean`,
    number: first,
    last,
    size: blocks.length,
    failed: blocks.some((block) => block.ok === false),
    ms: ratio(ms, timed.length),
    slowest: timed.length ? Math.max(...timed.map((block) => block.ms)) : null,
    count,
    rate: count > 0 && ms > 0 ? (count / ms) * 1000 : null,
    phases: measured.length ? addPhases(measured).map((sum) => sum / measured.length) : null,
  };
}

// ---- Fuel and time of extrinsics ----

// The least and the greatest fuel; least is the least above zero.
function fuelRange(extrinsics) {
  const range = { known: 0, zero: 0, least: Infinity, greatest: 0 };
  for (const fuel of extrinsics.fuel) {
    if (Number.isNaN(fuel)) continue;
    range.known += 1;
    if (fuel <= 0) range.zero += 1;
    else range.least = Math.min(range.least, fuel);
    range.greatest = Math.max(range.greatest, fuel);
  }
  if (range.least === Infinity) range.least = 0;
  range.wide = range.least > 0 && range.greatest / range.least > 100;
  return range;
}

// Rows with both a fuel and a time.
function timedRows(extrinsics) {
  const rows = [];
  for (let row = 0; row < extrinsics.size; row += 1) {
    if (extrinsics.fuel[row] >= 0 && extrinsics.ms[row] >= 0) rows.push(row);
  }
  return rows;
}

// The least-squares line ms = base + slope * fuel, or null when it is not defined.
function fitLine(extrinsics, rows) {
  const size = rows.length;
  if (size < 2) return null;
  let meanFuel = 0;
  let meanMs = 0;
  for (const row of rows) {
    meanFuel += extrinsics.fuel[row] / size;
    meanMs += extrinsics.ms[row] / size;
  }
  let both = 0;
  let fuelSquares = 0;
  let msSquares = 0;
  for (const row of rows) {
    const fuel = extrinsics.fuel[row] - meanFuel;
    const ms = extrinsics.ms[row] - meanMs;
    both += fuel * ms;
    fuelSquares += fuel * fuel;
    msSquares += ms * ms;
  }
  if (!(fuelSquares > 0)) return null;
  const slope = both / fuelSquares;
  const fit = msSquares > 0 ? (both * both) / (fuelSquares * msSquares) : null;
  return { slope, base: meanMs - slope * meanFuel, fit };
}

// At most MOST_POINTS rows, the same ones every time. Each outcome gives its share of them,
// and a rare outcome gives up to LEAST_POINTS_OF_AN_OUTCOME, so that no outcome vanishes.
function sampleRows(extrinsics, rows) {
  if (rows.length <= MOST_POINTS) return rows;
  const byOutcome = new Map();
  for (const row of rows) {
    const outcome = extrinsics.outcome[row];
    if (!byOutcome.has(outcome)) byOutcome.set(outcome, []);
    byOutcome.get(outcome).push(row);
  }
  const least = Math.min(LEAST_POINTS_OF_AN_OUTCOME, Math.floor(MOST_POINTS / byOutcome.size));
  const shared = MOST_POINTS - least * byOutcome.size;
  const sample = [];
  for (const group of byOutcome.values()) {
    const quota = least + Math.floor((group.length / rows.length) * shared);
    sample.push(...spread(group, quota));
  }
  return sample;
}

// Takes one row out of each of `quota` equal stretches, at a place that a fixed scramble gives.
// A fixed stride would meet the same extrinsic of every block.
function spread(rows, quota) {
  if (rows.length <= quota) return rows;
  const taken = [];
  for (let at = 0; at < quota; at += 1) {
    const shift = (Math.imul(at + 1, 2654435761) >>> 0) / 4294967296;
    taken.push(rows[Math.floor(((at + shift) * rows.length) / quota)]);
  }
  return taken;
}
