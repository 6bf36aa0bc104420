// table.js: a table that sorts, filters and shows a few hundred rows at a time.
// It knows columns {label, help, value(row), text(value, row), title(row), bad(row), kind}, where
// a row is a number from 0 to size - 1, and kind is 'number' (the default), 'text' or 'code'.
'use strict';

const ROWS_AT_A_TIME = 500;
const FILTER_DELAY_MS = 150;

// spec is {label, noun, size, columns, start: {column, descending}, filter, placeholder, step}.
// With start.column = null the rows keep their own order at first.
function dataTable(spec) {
  const table = {
    spec,
    limit: spec.step || ROWS_AT_A_TIME,
    sort: { ...spec.start },
    test: null,
    rows: [],
    body: el('tbody'),
    heads: [],
    status: el('p', { class: 'table-status', 'aria-live': 'polite' }),
  };
  table.more = el('button', { type: 'button', class: 'plain', text: 'Show more', click: () => showMore(table) });
  const box = el('div', { class: 'table-box', tabindex: '0', role: 'region', 'aria-label': spec.label }, [
    el('table', {}, [el('caption', { class: 'unseen', text: spec.label }), tableHead(table), table.body]),
  ]);
  arrange(table);
  return el('div', { class: 'data-table' }, [
    spec.filter ? el('div', { class: 'controls' }, [filterInput(table)]) : null,
    box,
    el('div', { class: 'controls' }, [table.status, table.more]),
  ]);
}

function tableHead(table) {
  table.heads = table.spec.columns.map((column, at) => el('th', { scope: 'col', class: columnKind(column) }, [
    el('button', { type: 'button', title: column.help, text: column.label, click: () => sortBy(table, at) }),
  ]));
  return el('thead', {}, [el('tr', {}, table.heads)]);
}

function columnKind(column) {
  return column.kind || 'number';
}

function filterInput(table) {
  let timer = 0;
  const input = el('input', {
    type: 'search',
    placeholder: table.spec.placeholder,
    'aria-label': `${table.spec.label}: filter`,
    input: () => {
      clearTimeout(timer);
      timer = setTimeout(() => applyFilter(table, input.value), FILTER_DELAY_MS);
    },
  });
  return input;
}

function applyFilter(table, text) {
  table.test = text.trim() === '' ? null : table.spec.filter(text.trim().toLowerCase());
  table.limit = table.spec.step || ROWS_AT_A_TIME;
  arrange(table);
}

// A number starts with the greatest first, a text with the least first; again turns it round.
function sortBy(table, column) {
  const again = table.sort.column === column;
  const numeric = columnKind(table.spec.columns[column]) === 'number';
  table.sort = { column, descending: again ? !table.sort.descending : numeric };
  arrange(table);
}

function showMore(table) {
  table.limit += table.spec.step ? table.spec.step * 4 : ROWS_AT_A_TIME;
  fillBody(table);
}

function arrange(table) {
  table.rows = keptRows(table);
  sortRows(table);
  table.heads.forEach((head, at) => head.setAttribute('aria-sort', sortName(table, at)));
  fillBody(table);
}

function sortName(table, at) {
  if (table.sort.column !== at) return 'none';
  return table.sort.descending ? 'descending' : 'ascending';
}

function keptRows(table) {
  const kept = [];
  for (let row = 0; row < table.spec.size; row += 1) if (!table.test || table.test(row)) kept.push(row);
  return kept;
}

// Missing values come last whichever way the table is sorted.
function sortRows(table) {
  if (table.sort.column === null) return;
  const column = table.spec.columns[table.sort.column];
  const keys = new Array(table.spec.size);
  for (const row of table.rows) keys[row] = column.value(row);
  const turn = table.sort.descending ? -1 : 1;
  table.rows.sort((a, b) => compareKeys(keys[a], keys[b], turn) || a - b);
}

function isMissing(value) {
  return value === null || value === undefined || Number.isNaN(value);
}

function compareKeys(a, b, turn) {
  if (isMissing(a) || isMissing(b)) return Number(isMissing(a)) - Number(isMissing(b));
  if (a === b) return 0;
  return a < b ? -turn : turn;
}

function fillBody(table) {
  const { columns } = table.spec;
  const shown = table.rows.slice(0, table.limit);
  table.body.replaceChildren(...shown.map((row) => el('tr', {}, columns.map((column) => tableCell(column, row)))));
  table.status.textContent = tableStatus(table, shown.length);
  table.more.hidden = shown.length === table.rows.length;
}

function tableStatus(table, shown) {
  const { noun, size } = table.spec;
  const kept = table.rows.length;
  if (table.test) {
    const rest = shown < kept ? `; ${whole(shown)} shown` : '';
    return `${whole(kept)} of ${plural(size, noun)} ${kept === 1 ? 'matches' : 'match'}${rest}.`;
  }
  return shown < size ? `${whole(shown)} of ${plural(size, noun)} shown.` : `${plural(size, noun)}.`;
}

function tableCell(column, row) {
  const value = column.value(row);
  const text = isMissing(value) ? NONE : column.text ? column.text(value, row) : String(value);
  const title = column.title ? column.title(row) : null;
  const bad = column.bad && column.bad(row) ? ' bad-cell' : '';
  return el('td', { class: columnKind(column) + bad, title, text });
}

// ---- Filters ----

// A row is kept when its text holds every word.
function textFilter(textOf) {
  return (text) => {
    const words = text.split(/\s+/);
    return (row) => {
      const own = textOf(row).toLowerCase();
      return words.every((word) => own.includes(word));
    };
  };
}

// "12" keeps block 12, "12-3" keeps extrinsic 3 of block 12, and any other word looks in the outcome.
function extrinsicFilter(extrinsics) {
  return (text) => {
    const tests = text.split(/\s+/).map((word) => extrinsicTest(extrinsics, word));
    return (row) => tests.every((test) => test(row));
  };
}

function extrinsicTest(extrinsics, word) {
  const parts = /^(\d+)(?:-(\d*))?$/.exec(word);
  if (!parts) {
    const wanted = extrinsics.outcomes.map((name) => name.toLowerCase().includes(word));
    return (row) => wanted[extrinsics.outcome[row]];
  }
  const block = Number(parts[1]);
  const index = parts[2] ? Number(parts[2]) : null;
  return (row) => extrinsics.block[row] === block && (index === null || extrinsics.index[row] === index);
}

// ---- The two tables of a run ----

function shortRoot(root) {
  return root.length > 18 ? `${root.slice(0, 10)}..${root.slice(-6)}` : root;
}

function blockTable(blocks) {
  const columns = [
    { label: 'block', value: (row) => blocks[row].number, text: String },
    { label: 'verdict', kind: 'text', value: (row) => verdictOfBlock(blocks[row]), bad: (row) => blocks[row].ok === false },
    { label: 'ms', value: (row) => blocks[row].ms, text: threePlaces },
    { label: 'extrinsics', value: (row) => blocks[row].count, text: whole },
    { label: 'fuel', value: (row) => blocks[row].fuel, text: whole },
    ...PHASES.map(([name, help], at) => ({
      label: name, help: `ms, ${help}`, value: (row) => (blocks[row].phases ? blocks[row].phases[at] : null), text: threePlaces,
    })),
    { label: 'start ms', help: 'since the run began', value: (row) => blocks[row].start, text: threePlaces },
    { label: 'state root', kind: 'code', value: (row) => blocks[row].root, text: shortRoot, title: (row) => blocks[row].root },
  ];
  return dataTable({
    label: 'Blocks',
    noun: 'block',
    size: blocks.length,
    columns: columns.filter((column) => blocks.some((block, row) => !isMissing(column.value(row)))),
    start: { column: 0, descending: false },
    filter: textFilter((row) => `${blocks[row].number} ${verdictOfBlock(blocks[row]) || ''} ${blocks[row].root || ''}`),
    placeholder: 'Filter by number, verdict or root',
  });
}

function verdictOfBlock(block) {
  if (block.ok === true) return 'ok';
  return block.ok === false ? 'failed' : null;
}

function extrinsicTable(extrinsics) {
  const nsPerFuel = (row) => (extrinsics.fuel[row] > 0 ? (extrinsics.ms[row] * 1e6) / extrinsics.fuel[row] : null);
  return dataTable({
    label: 'Extrinsics',
    noun: 'extrinsic',
    size: extrinsics.size,
    columns: [
      { label: 'block', value: (row) => extrinsics.block[row], text: String },
      { label: 'index', value: (row) => extrinsics.index[row], text: String },
      { label: 'outcome', kind: 'text', value: (row) => extrinsics.outcomes[extrinsics.outcome[row]] },
      { label: 'fuel', value: (row) => extrinsics.fuel[row], text: whole },
      { label: 'ms', value: (row) => extrinsics.ms[row], text: threePlaces },
      { label: 'ns per fuel', value: nsPerFuel, text: short },
    ],
    start: { column: 0, descending: false },
    filter: extrinsicFilter(extrinsics),
    placeholder: 'Filter: trap, 12, or 12-3',
  });
}
