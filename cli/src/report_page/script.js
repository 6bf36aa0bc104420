// script.js: builds the report page out of the other files.
// It knows the order of the page: the runs, the verdict, the divergence, the charts, the tables,
// the footer, and what to say when data is missing. It also knows the theme button.
'use strict';

const KIND_VERBS = { replay: 'Replayed', verify: 'Verified', produce: 'Produced' };

// ---- The theme ----

function storedTheme(theme) {
  try {
    if (theme) localStorage.setItem('slackwater-theme', theme);
    return localStorage.getItem('slackwater-theme');
  } catch (error) {
    return theme || null; // A page from a file may have no storage. The button works all the same.
  }
}

function setUpTheme() {
  const button = document.getElementById('theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  const page = document.documentElement;
  const isDark = () => (page.dataset.theme ? page.dataset.theme === 'dark' : system.matches);
  const show = () => {
    button.textContent = isDark() ? 'Light theme' : 'Dark theme';
  };
  const stored = storedTheme(null);
  if (stored === 'dark' || stored === 'light') page.dataset.theme = stored;
  button.addEventListener('click', () => {
    page.dataset.theme = isDark() ? 'light' : 'dark';
    storedTheme(page.dataset.theme);
    show();
  });
  system.addEventListener('change', show);
  show();
}

// ---- The verdict and the tiles ----

function verdictOf(run) {
  if (run.divergence) {
    const block = run.divergence.block;
    return { name: 'bad', text: isNumber(block) ? `Diverges at block ${block}` : 'Diverges' };
  }
  if (run.error) return { name: 'bad', text: 'Error' };
  if (run.ok === true) return { name: 'good', text: 'OK' };
  return run.ok === false ? { name: 'bad', text: 'Failed' } : { name: 'unsure', text: 'No verdict' };
}

function badge(run) {
  const verdict = verdictOf(run);
  const sign = { good: '\u2713', bad: '\u2717', unsure: '?' }[verdict.name];
  return el('span', { class: `badge ${verdict.name}` }, [
    el('span', { 'aria-hidden': 'true', text: `${sign} ` }),
    verdict.text,
  ]);
}

function tile(name, value, help) {
  return el('div', { class: 'tile' }, [
    el('dt', { text: name }),
    el('dd', { text: value }),
    help ? el('dd', { class: 'tile-help', text: help }) : null,
  ]);
}

function rate(value) {
  if (!isNumber(value)) return NONE;
  return value >= 100 ? whole(value) : short(value);
}

function tiles(run) {
  const sums = run.totals;
  return el('dl', { class: 'tiles' }, [
    tile('blocks', whole(sums.blocks), sums.failed > 0 ? `${whole(sums.failed)} failed` : null),
    tile('extrinsics', whole(sums.extrinsics), sums.extrinsics === null ? 'not told apart' : null),
    tile('extrinsics per second', rate(sums.extrinsicsPerSecond)),
    tile('blocks per second', rate(sums.blocksPerSecond)),
    tile('total fuel', short(sums.fuel), isNumber(sums.fuel) ? whole(sums.fuel) : 'not counted'),
    tile('time', isNumber(sums.seconds) ? duration(sums.seconds * 1000) : NONE),
    tile('mode', run.mode),
    tile('path', run.path),
    tile('fuel meter', run.meter),
    tile('threads', run.threads),
  ]);
}

function headline(run, report) {
  const verb = KIND_VERBS[report.kind] || 'Ran';
  return el('section', { class: 'headline', 'aria-label': 'Summary' }, [
    el('p', { class: 'run-name', text: run.name }),
    report.profile && note('A fuel profile was taken, which makes times several times longer.'),
    el('div', { class: 'headline-row' }, [
      el('h1', { text: `${verb} ${plural(run.totals.blocks, 'block')}` }),
      badge(run),
    ]),
    run.result ? el('p', { class: 'result', text: run.result }) : null,
    run.error ? el('pre', { class: 'error-text', text: run.error }) : null,
    tiles(run),
  ]);
}

// ---- The divergence ----

function isHex(text) {
  return typeof text === 'string' && /^0x([0-9a-f]{2})*$/i.test(text);
}

function bytesOf(hex) {
  return hex.slice(2).match(/../g) || [];
}

// The bytes of `own` in runs that are equal to or different from `other`.
function markedBytes(own, other) {
  const nodes = ['0x'];
  let text = '';
  let differs = false;
  const close = () => {
    if (text !== '') nodes.push(differs ? el('mark', { text }) : text);
    text = '';
  };
  own.forEach((byte, at) => {
    const now = byte.toLowerCase() !== (other[at] || '').toLowerCase();
    if (now !== differs) close();
    differs = now;
    text += byte;
  });
  close();
  return nodes;
}

function countDifferent(a, b) {
  let count = Math.abs(a.length - b.length);
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    if (a[at].toLowerCase() !== b[at].toLowerCase()) count += 1;
  }
  return count;
}

function differenceText(left, right) {
  const longest = Math.max(left.length, right.length);
  return `${plural(countDifferent(left, right), 'byte')} of ${whole(longest)}, highlighted.`;
}

// A written value: a text, or {write, value} as the program tells it.
function writtenText(value) {
  if (!value || typeof value !== 'object') return value;
  return value.write === 'present' ? value.value : '(' + asText(value.write, '') + ')';
}

function decodedPair(key) {
  const pair = [['expected, taken apart', key.expected_decoded],
    ['computed, taken apart', key.computed_decoded]];
  return pair.filter(([, text]) => text).flatMap(([name, text]) => term(name, codeBlock([text])));
}

function valuePair(expected, computed) {
  const hex = isHex(expected) && isHex(computed);
  const [left, right] = hex ? [bytesOf(expected), bytesOf(computed)] : [null, null];
  return [
    ...term('expected', codeBlock(hex ? markedBytes(left, right) : [asText(expected, NONE)])),
    ...term('computed', codeBlock(hex ? markedBytes(right, left) : [asText(computed, NONE)])),
    ...(hex ? term('difference', differenceText(left, right)) : []),
  ];
}

function codeBlock(parts) {
  return el('code', { class: 'code-block', tabindex: '0' }, parts);
}

function term(name, content) {
  return [el('dt', { text: name }), el('dd', {}, [content])];
}

function keyTerms(key) {
  const child = asText(key.child, null);
  const name = asText(key.name, null);
  return [
    el('h3', { text: 'The first key that differs' }),
    el('dl', { class: 'terms' }, [
      ...(name ? term('name', codeBlock([name])) : []),
      ...term('key', codeBlock([asText(key.key, NONE)])),
      ...(child ? term('child trie', codeBlock([child])) : []),
      ...valuePair(writtenText(key.expected), writtenText(key.computed)),
      ...decodedPair(key),
    ]),
  ];
}

function rootTerms(divergence) {
  const expected = asText(divergence.expected_root, null);
  const computed = asText(divergence.computed_root, null);
  if (!expected && !computed) return [];
  return [
    el('h3', { text: 'State roots' }),
    el('dl', { class: 'terms' }, [
      ...term('expected', codeBlock([expected || NONE])),
      ...term('computed', codeBlock([computed || NONE])),
    ]),
  ];
}

function fileList(files) {
  if (files.length === 0) return [];
  const items = files.map((file) => el('li', {}, [el('code', { text: asText(file, NONE) })]));
  return [el('h3', { text: 'Files' }), el('ul', { class: 'files' }, items)];
}

function divergencePanel(divergence) {
  const block = isNumber(divergence.block) ? ` at block ${divergence.block}` : '';
  return el('section', { class: 'card divergence', 'aria-label': 'Divergence' }, [
    el('h2', { text: `The run diverges${block}` }),
    el('dl', { class: 'terms' }, [
      ...term('step', asText(divergence.step, NONE)),
      ...term('message', asText(divergence.message, NONE)),
    ]),
    ...(divergence.key && typeof divergence.key === 'object' ? keyTerms(divergence.key) : []),
    ...rootTerms(divergence),
    ...fileList(asList(divergence.files)),
  ]);
}

// ---- Why a part is missing ----

function whyNoExtrinsics(run) {
  if (run.totals.blocks === 0) return 'The run has no blocks.';
  if (run.path === 'whole') return 'The whole path does not tell extrinsics apart.';
  return 'The blocks have no extrinsics.';
}

function whyNoRate(run) {
  return run.totals.extrinsics ? 'The blocks took no time that could be measured.' : whyNoExtrinsics(run);
}

function whyNoFuel(run) {
  if (run.extrinsics.size === 0) return whyNoExtrinsics(run);
  return 'Fuel was not counted.';
}

// ---- The charts ----

function phasesPart(run) {
  if (run.totals.blocks === 0) return [note('The run has no blocks.')];
  if (!run.totals.phases) return [note('The time of the phases was not measured.')];
  const groups = groupBlocks(run.blocks);
  const sum = run.totals.phases.reduce((total, value) => total + value, 0);
  if (!(sum > 0)) return [note('The phases took no time that could be measured.')];
  const missing = run.totals.blocks - run.totals.measuredBlocks;
  return [
    figure([
      phaseBar(run.totals.phases),
      caption(`All blocks together: ${duration(sum)}.${leftOut(missing, 'block', 'without phases')}`),
    ]),
    phaseLegend(run.totals.phases),
    el('h3', { text: 'Block by block' }),
    figure([phasesOverBlocks(run, groups), caption(groupCaption(groups, 'The colours are those of the bar above.'))]),
  ];
}

function leftOut(count, noun, why) {
  return count > 0 ? ` ${plural(count, noun)} ${why} left out.` : '';
}

function groupCaption(groups, text) {
  const mean = groups[0].size > 1 ? ` Each column is the mean of ${groups[0].size} blocks.` : '';
  const failed = groups.some((group) => group.failed) ? ' A red line marks a block that failed.' : '';
  return text + mean + failed;
}

function throughputPart(run) {
  if (run.totals.blocks === 0) return [note('The run has no blocks.')];
  const groups = groupBlocks(run.blocks);
  if (!groups.some((group) => group.ms !== null)) return [note('The time of the blocks was not measured.')];
  const rateLine = {
    name: 'extrinsics per second',
    value: (group) => group.rate,
    text: rate,
    axis: (most) => linearAxis(0, most, 'extrinsics per second', short),
    colour: 'var(--line-rate)',
  };
  const timeLine = {
    name: 'time of a block',
    value: (group) => group.ms,
    text: duration,
    axis: (most) => timeAxis(0, most, 'time of a block', false),
    colour: 'var(--line-time)',
  };
  const hasRate = groups.some((group) => group.rate !== null);
  return [
    hasRate ? figure([lineOverBlocks(groups, rateLine)]) : note(whyNoRate(run)),
    figure([lineOverBlocks(groups, timeLine), caption(groupCaption(groups, 'The dashed line is the median.'))]),
  ];
}

function fuelPart(run) {
  const range = fuelRange(run.extrinsics);
  if (range.known === 0) return [note(whyNoFuel(run))];
  const zero = leftOut(range.wide ? range.zero : 0, 'extrinsic', 'with no fuel');
  const uncounted = leftOut(run.extrinsics.size - range.known, 'extrinsic', 'without a count');
  const text = `${plural(range.known, 'extrinsic')}.${zero}${uncounted} ${fuelShares(run.totals)}`;
  return [
    outcomeLegend(run.extrinsics, false),
    figure([fuelHistogram(run.extrinsics, range), caption(text)]),
  ];
}

function fuelShares(sums) {
  const parts = [
    ['initializing blocks', sums.initializeFuel],
    ['extrinsics', sums.extrinsicFuel],
    ['finalizing blocks', sums.finalizeFuel],
  ].filter(([, fuel]) => isNumber(fuel));
  if (parts.length < 2) return '';
  const total = sumOf(parts.map(([, fuel]) => fuel));
  return `Where the fuel went: ${parts.map(([name, fuel]) => `${name} ${percent(fuel, total)}`).join(', ')}.`;
}

function scatterPart(run) {
  const range = fuelRange(run.extrinsics);
  if (range.known === 0) return [note(whyNoFuel(run))];
  const rows = timedRows(run.extrinsics);
  if (rows.length === 0) return [note('The time of each extrinsic was not measured.')];
  const sample = sampleRows(run.extrinsics, rows);
  const fit = fitLine(run.extrinsics, rows);
  const holder = el('div');
  const show = (log) => holder.replaceChildren(figure([
    fuelScatter(run.extrinsics, sample, fit, log),
    caption(scatterCaption(sample.length, rows.length, fit)),
  ]));
  show(range.wide);
  const button = el('button', {
    type: 'button', class: 'plain', 'aria-pressed': String(range.wide), text: 'Log scales',
    click: () => {
      const log = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(log));
      show(log);
    },
  });
  return [el('div', { class: 'controls' }, [outcomeLegend(run.extrinsics, true), button]), holder];
}

function scatterCaption(shown, all, fit) {
  const points = shown < all
    ? `${whole(shown)} of ${whole(all)} extrinsics shown, with more than their share of the rare outcomes.`
      + ' The line is through all of them.'
    : `${plural(all, 'extrinsic')}, one point each.`;
  if (!fit) return `${points} A line needs two different amounts of fuel.`;
  const base = `${fit.base < 0 ? 'minus' : 'plus'} ${duration(Math.abs(fit.base))} an extrinsic`;
  const quality = fit.fit === null ? '' : ` It explains ${percent(fit.fit, 1)} of the spread in time.`;
  return `${points} Least-squares line: ${short(fit.slope * 1e6)} ns per fuel, ${base}.${quality}`;
}

function profilePart(run, report) {
  if (!report.profile) return [note('No fuel profile was taken.')];
  const dearest = dearestFunctions(report.profile);
  const list = dearest ? [el('h3', { text: 'Functions by their own cost' }), dearest] : [];
  return [flamegraph(report.profile), ...list];
}

function blocksPart(run) {
  return [run.totals.blocks === 0 ? note('The run has no blocks.') : blockTable(run.blocks)];
}

function extrinsicsPart(run) {
  return [run.extrinsics.size === 0 ? note(whyNoExtrinsics(run)) : extrinsicTable(run.extrinsics)];
}

// ---- The page ----

const EXTRINSICS_HELP = 'Click on a column to sort. '
  + 'The filter takes an outcome, a block (12), or a block and an index (12-3).';
const PARTS = [
  ['phases', 'Time per phase', 'Where the time went.', phasesPart],
  ['throughput', 'Throughput', 'How fast the run was, block after block.', throughputPart],
  ['fuel', 'Fuel per extrinsic', 'How many extrinsics took how much fuel.', fuelPart],
  ['scatter', 'Fuel against time', 'Whether fuel tells the time that an extrinsic takes.', scatterPart],
  ['profile', 'Fuel profile', 'Which functions of the runtime took the fuel.', profilePart],
  ['blocks', 'Blocks', 'Times are in ms. Click on a column to sort.', blocksPart],
  ['extrinsics', 'Extrinsics', EXTRINSICS_HELP, extrinsicsPart],
];

function part([id, title, help, build], run, report) {
  let content = [];
  try {
    content = build(run, report);
  } catch (error) {
    console.error(error);
    content = [note('This part could not be drawn.')];
  }
  return el('section', { class: 'card', id, 'aria-labelledby': `${id}-title` }, [
    el('h2', { id: `${id}-title`, text: title }),
    isOneNote(content) ? null : el('p', { class: 'help', text: help }),
    ...content,
  ]);
}

function isOneNote(content) {
  return content.length === 1 && content[0].className === 'note';
}

function contents() {
  const links = PARTS.map(([id, title]) => el('a', { href: `#${id}`, text: title }));
  return el('nav', { class: 'contents', 'aria-label': 'Parts of the report' }, links);
}

function showRun(holder, run, report) {
  resetResizing();
  hideTooltip();
  holder.replaceChildren(...[
    headline(run, report),
    run.divergence ? divergencePanel(run.divergence) : null,
    contents(),
    ...PARTS.map((one) => part(one, run, report)),
  ].filter((node) => node !== null));
}

function compareTable(runs) {
  return el('section', { class: 'card compare', 'aria-label': 'All runs' }, [
    el('h2', { text: 'All runs' }),
    dataTable({
      label: 'All runs',
      noun: 'run',
      size: runs.length,
      start: { column: null, descending: false },
      columns: [
        { label: 'run', kind: 'text', value: (row) => runs[row].name },
        { label: 'verdict', kind: 'text', value: (row) => verdictOf(runs[row]).text, bad: (row) => verdictOf(runs[row]).name === 'bad' },
        { label: 'mode', kind: 'text', value: (row) => runs[row].mode },
        { label: 'path', kind: 'text', value: (row) => runs[row].path },
        { label: 'meter', kind: 'text', value: (row) => runs[row].meter },
        { label: 'threads', value: (row) => runs[row].threads },
        { label: 'blocks', value: (row) => runs[row].totals.blocks, text: whole },
        { label: 'extrinsics', value: (row) => runs[row].totals.extrinsics, text: whole },
        { label: 'extrinsics/s', value: (row) => runs[row].totals.extrinsicsPerSecond, text: rate },
        { label: 'blocks/s', value: (row) => runs[row].totals.blocksPerSecond, text: rate },
        { label: 'fuel', value: (row) => runs[row].totals.fuel, text: short },
        { label: 'seconds', value: (row) => runs[row].totals.seconds, text: threePlaces },
      ],
    }),
  ]);
}

// Tabs as the usual practice has them: one tab stop, arrow keys move and show.
function runTabs(runs, holder, report) {
  const tabs = runs.map((run, at) => el('button', {
    type: 'button', role: 'tab', id: `run-${at}`, 'aria-controls': 'run',
    text: run.mode ? `${run.name}, ${run.mode}` : run.name, click: () => choose(at),
  }));
  const choose = (chosen) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute('aria-selected', String(at === chosen));
      tab.setAttribute('tabindex', at === chosen ? '0' : '-1');
    });
    holder.setAttribute('aria-labelledby', `run-${chosen}`);
    showRun(holder, runs[chosen], report);
  };
  const keydown = (event) => {
    const next = stepFor(event.key, tabs.indexOf(document.activeElement), tabs.length);
    if (next === null) return;
    event.preventDefault();
    tabs[next].focus();
    choose(next);
  };
  choose(0);
  return el('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Runs', keydown }, tabs);
}

function footer(report) {
  const cpu = asText(report.machine.cpu, 'a machine that is not named');
  const cores = isNumber(report.machine.cores) ? `, ${plural(report.machine.cores, 'core')}` : '';
  return el('p', { text: `Made by ${report.program} on ${cpu}${cores}.` });
}

function showReport(page, report) {
  if (report === null) return page.replaceChildren(note('The data of this report could not be read.'));
  document.getElementById('foot').replaceChildren(footer(report));
  if (report.runs.length === 0) return page.replaceChildren(note('This report holds no run.'));
  const holder = el('div', { id: 'run' });
  if (report.runs.length === 1) {
    showRun(holder, report.runs[0], report);
    return page.replaceChildren(holder);
  }
  holder.setAttribute('role', 'tabpanel');
  return page.replaceChildren(compareTable(report.runs), runTabs(report.runs, holder, report), holder);
}

document.body.append(tooltip);
document.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.chart')) hideTooltip();
});
setUpTheme();
showReport(document.getElementById('page'), readReport(document.getElementById('data').textContent));
