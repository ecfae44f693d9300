"""Style sheet of a job's report, as a module: tools that pack a program into a file leave data out."""

from typing import Final

STYLE: Final = """\
:root {
  color-scheme: light dark;
  --page: #f4f6f8; --card: #ffffff; --ink: #1a2230; --muted: #52606f; --grid: #dde3ea; --edge: #d3dae2;
  --done: #1b7f55; --failed: #c8324d; --unknown: #a86400; --bad: #8a3ffc; --left-out: #6b7785; --waiting: #2f6fd0;
  --requests: #2f6fd0; --throttled: #c8324d; --pace: #1a2230; --p50: #2f6fd0; --p95: #a86400;
  --paused: #a86400; --held: #8a3ffc; --code: #eef1f5; --good-page: #e5f4ec; --open-page: #fdf0dc;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0e131a; --card: #171e28; --ink: #e8edf3; --muted: #a3b0be; --grid: #2b3542; --edge: #2b3542;
    --done: #45c08a; --failed: #ff7288; --unknown: #f2b13c; --bad: #c19bff; --left-out: #8b98a7; --waiting: #6aa9ff;
    --requests: #6aa9ff; --throttled: #ff7288; --pace: #e8edf3; --p50: #6aa9ff; --p95: #f2b13c;
    --paused: #f2b13c; --held: #c19bff; --code: #0e131a; --good-page: #16382a; --open-page: #3d2e12;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 16px; }
h3 { font-size: 16px; margin: 0; }
p { margin: 0 0 12px; }
section { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; padding: 24px; margin: 20px 0 0; }
.status { font-size: 18px; font-weight: 600; border-radius: 10px; padding: 12px 16px; margin: 0 0 16px; border-left: 6px solid; overflow-wrap: anywhere; }
.good { background: var(--good-page); border-color: var(--done); }
.open { background: var(--open-page); border-color: var(--unknown); }
dl { margin: 0; }
dt { color: var(--muted); font-size: 14px; }
dd { margin: 0; overflow-wrap: anywhere; }
.about { display: flex; flex-wrap: wrap; gap: 8px 32px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 20px; }
.tiles div { flex: 1 1 auto; min-width: max-content; background: var(--page); border-radius: 10px; padding: 12px 16px; }
.tiles dd { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { display: block; width: 100%; }
.bar { height: 18px; border-radius: 6px; margin: 0 0 16px; background: var(--grid); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
caption { text-align: left; color: var(--muted); font-size: 14px; padding: 0 0 6px; }
th, td { text-align: left; vertical-align: top; padding: 8px 16px 8px 0; border-top: 1px solid var(--grid); font-weight: 400; }
thead th { color: var(--muted); font-size: 14px; border-top: 0; }
tbody th { font-weight: 600; white-space: nowrap; }
td { overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.note { color: var(--muted); font-size: 14px; }
.reason { display: inline-block; min-width: 190px; }
.scroll + .note { margin: 12px 0 0; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 32px 40px; }
figure { margin: 0; display: flex; flex-direction: column; }
figcaption p { color: var(--muted); font-size: 14px; margin: 2px 0 6px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; padding: 0; margin: 0 0 12px; font-size: 14px; min-height: 21px; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 8px 0 0; vertical-align: -1px; background: currentColor; }
.key.line { height: 3px; vertical-align: 4px; border-radius: 0; width: 18px; }
.key.pace { background: repeating-linear-gradient(90deg, var(--pace) 0 5px, transparent 5px 8px); }
.plot { position: relative; margin: 8px 0 28px 52px; height: 150px; border-bottom: 1px solid var(--muted); margin-top: auto; }
.plot svg { height: 100%; overflow: visible; }
.scale, .times { position: absolute; color: var(--muted); font-size: 13px; font-variant-numeric: tabular-nums; }
.scale { inset: 0 auto 0 -52px; width: 44px; }
.scale span { position: absolute; right: 0; transform: translateY(-50%); white-space: nowrap; }
.times { inset: 100% 0 auto 0; height: 24px; }
.times span { position: absolute; top: 4px; transform: translateX(-50%); white-space: nowrap; }
.times span:first-child { transform: none; }
svg .grid { stroke: var(--grid); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg .mark { stroke: var(--muted); stroke-width: 1.5; stroke-dasharray: 3 3; vector-effect: non-scaling-stroke; }
svg .line { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
svg .pace { stroke-dasharray: 6 4; }
.done { color: var(--done); fill: var(--done); }
.failed { color: var(--failed); fill: var(--failed); }
.requests { color: var(--requests); fill: var(--requests); }
.throttled { color: var(--throttled); fill: var(--throttled); }
.paused { color: var(--paused); fill: var(--paused); }
.held { color: var(--held); fill: var(--held); }
.pace { color: var(--pace); stroke: var(--pace); }
.p50 { color: var(--p50); stroke: var(--p50); }
.p95 { color: var(--p95); stroke: var(--p95); }
.fill-done { color: var(--done); fill: var(--done); }
.fill-failed { color: var(--failed); fill: var(--failed); }
.fill-unknown { color: var(--unknown); fill: var(--unknown); }
.fill-bad { color: var(--bad); fill: var(--bad); }
.fill-left-out { color: var(--left-out); fill: var(--left-out); }
.fill-waiting { color: var(--waiting); fill: var(--waiting); }
details { margin: 20px 0 0; }
summary { cursor: pointer; color: var(--muted); margin: 0 0 8px; }
.steps { margin: 0; padding: 0 0 0 24px; }
.steps li + li { margin: 16px 0 0; }
.steps p { margin: 0 0 6px; }
pre { background: var(--code); border: 1px solid var(--edge); border-radius: 8px; margin: 0; padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: 14px/1.5 ui-monospace, monospace; }
footer { color: var(--muted); font-size: 14px; padding: 20px 4px 0; }
:focus-visible { outline: 2px solid var(--waiting); outline-offset: 2px; }
@media (max-width: 760px) {
  main { padding: 20px 12px; }
  h1 { font-size: 23px; }
  section { padding: 16px; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tiles dd { font-size: 19px; }
  table { font-size: 14px; }
  th, td { padding-right: 10px; }
  thead th { white-space: nowrap; }
}
@media print {
  :root { --page: #ffffff; --card: #ffffff; }
  main { max-width: none; padding: 0; }
  section { border: 0; padding: 12px 0; break-inside: avoid-page; }
  figure, tr, .steps li { break-inside: avoid; }
  .area, .bar, .key, .tiles div, .status { print-color-adjust: exact; }
}
"""
