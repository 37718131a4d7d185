// The node's page: shows what the node tells once a second over a WebSocket. Totals come in; rates
// are made here from two of them, so that a report that was missed only widens a step.
'use strict';

const SAMPLES = 120;
const BACK_OFF_MAX_MS = 10000;
const SVG = 'http://www.w3.org/2000/svg';

const thousands = (n) => Math.round(n).toLocaleString('en');
const bytes = (n) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i + 1 < units.length; i++) n /= 1024;
  return `${n.toFixed(i > 0 ? 1 : 0)} ${units[i]}`;
};

// Each chart is told two reports and the seconds between them. `least` is the smallest full scale.
const CHARTS = [
  { id: 'connections', title: 'Connections', least: 10, show: thousands, value: (b) => b.live },
  { id: 'messages', title: 'Messages a second', least: 10, show: thousands, value: (b, a, s) => (b.messages - a.messages) / s },
  { id: 'requests', title: 'Requests a second', least: 10, show: thousands, value: (b, a, s) => (b.requests - a.requests) / s },
  { id: 'cpu', title: 'CPU', least: 5, show: (n) => `${n.toFixed(1)} %`, value: (b, a, s) => (100 * (b.cpu_s - a.cpu_s)) / s },
  { id: 'memory', title: 'Memory', least: 1 << 20, show: bytes, value: (b) => b.rss },
  { id: 'lag', title: 'Loop lag', least: 1, show: (n) => `${n.toFixed(2)} ms`, value: (b) => b.lag_ms },
];

const at = (id) => document.getElementById(id);

function element(name, parent, text, className) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  parent.append(e);
  return e;
}

function svgPath(svg, className) {
  const p = document.createElementNS(SVG, 'path');
  p.setAttribute('class', className);
  svg.append(p);
  return p;
}

function makeChart(chart) {
  const figure = element('figure', at('charts'));
  figure.id = `chart-${chart.id}`;
  const caption = element('figcaption', figure);
  element('span', caption, chart.title);
  chart.now = element('b', caption, '\u2013');
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${SAMPLES - 1} 100`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${chart.title}, the last ${SAMPLES} seconds`);
  figure.append(svg);
  chart.area = svgPath(svg, 'area');
  chart.line = svgPath(svg, 'line');
  chart.most = element('small', figure, '\u00a0');
  chart.values = [];
}

function draw(chart, value) {
  const v = chart.values;
  v.push(Number.isFinite(value) ? Math.max(0, value) : 0);
  if (v.length > SAMPLES) v.shift();
  const most = Math.max(...v);
  const scale = Math.max(most, chart.least);
  const first = SAMPLES - v.length;
  const points = v.map((y, i) => `${first + i} ${(98 - (96 * y) / scale).toFixed(2)}`);
  const line = `M${points.join('L')}`;
  chart.line.setAttribute('d', line);
  chart.area.setAttribute('d', `${line}L${SAMPLES - 1} 100L${first} 100Z`);
  chart.now.textContent = chart.show(v[v.length - 1]);
  chart.most.textContent = `most: ${chart.show(most)}`;
}

function drawServices(services) {
  const rows = services.map((s) => {
    const row = document.createElement('tr');
    element('td', row, s.kind);
    element('td', row, s.endpoint);
    element('td', row, thousands(s.live), 'n');
    element('td', row, thousands(s.messages), 'n');
    element('td', row, bytes(s.bytes), 'n');
    return row;
  });
  at('services').replaceChildren(...rows);
}

function span(seconds) {
  const s = Math.floor(seconds);
  const hours = Math.floor(s / 3600);
  const text = `${Math.floor((s % 3600) / 60)} min ${s % 60} s`;
  return hours > 0 ? `${hours} h ${text}` : text;
}

let last = null;

function show(report) {
  at('version').textContent = report.version;
  at('driver').textContent = `driver ${report.driver}`;
  at('uptime').textContent = `up ${span(report.up_s)}`;
  drawServices(report.services);
  if (at('tree').textContent !== report.tree) at('tree').textContent = report.tree;
  // After a restart of the node its totals begin anew.
  if (last !== null && report.up_s > last.up_s) {
    for (const chart of CHARTS) draw(chart, chart.value(report, last, report.up_s - last.up_s));
  }
  last = report;
}

function state(on, text) {
  at('link').className = on ? 'on' : 'off';
  at('link').textContent = text;
}

function connect(backOff) {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(`${scheme}//${location.host}/live`);
  let wait = backOff;
  socket.addEventListener('open', () => {
    wait = 500;
    state(true, 'live');
  });
  socket.addEventListener('message', (event) => show(JSON.parse(event.data)));
  socket.addEventListener('close', () => {
    state(false, 'not connected');
    setTimeout(connect, wait, Math.min(wait * 2, BACK_OFF_MAX_MS));
  });
}

CHARTS.forEach(makeChart);
connect(500);
