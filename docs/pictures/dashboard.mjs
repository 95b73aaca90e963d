// Draws a Grafana dashboard's panels, where its gridPos puts them, with data of a Prometheus: a page for a browser, without Grafana.
//
//   node dashboard.mjs DASHBOARD.json PROMETHEUS-URL INSTANCE START END SCRAPE-SECONDS ECHARTS.min.js >PAGE.html
//
// It knows what echostored's own dashboard uses: rows, stats and time series. The last line on standard error is the page's height.
import { readFileSync } from "node:fs";

const [file, prometheus, instance, start, end, scrape, charts] = process.argv.slice(2);
const dashboard = JSON.parse(readFileSync(file, "utf8"));
const [from, to] = [Number(start), Number(end)];
const step = Math.max(Number(scrape), Math.ceil((to - from) / 300));
const width = 1600, cell = 30, gap = 8;

// As Grafana chooses it: four scrapes, or a step and one.
const rate = Math.max(4 * scrape, step + Number(scrape));
const query = (text) => text
    .replaceAll("$__rate_interval", `${rate}s`).replaceAll("$__range", `${to - from}s`).replaceAll("$instance", instance);

async function ask(path, parameters) {
    const answer = await (await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
    if (answer.status !== "success") throw new Error(`${parameters.query}: ${answer.error}`);
    return answer.data.result;
}

const legend = (target, metric) =>
    (target.legendFormat || metric.__name__ || "").replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? "").trim();

async function seriesOf(panel) {
    const all = [];
    for (const target of panel.targets) {
        const parameters = { query: query(target.expr) };
        const result = target.instant
            ? await ask("query", { ...parameters, time: to })
            : await ask("query_range", { ...parameters, start: from, end: to, step });
        for (const one of result) {
            const values = one.values ?? [one.value];
            all.push({ name: legend(target, one.metric), values: values.map(([time, value]) => [time * 1000, Number(value)]) });
        }
    }
    return all;
}

const panels = [];
for (const panel of dashboard.panels) {
    panels.push({ ...panel, series: panel.type === "row" ? [] : await seriesOf(panel) });
}
const height = Math.max(...panels.map(({ gridPos: { y, h } }) => y + h)) * (cell + gap) + gap + 40;

// From here on it runs in the browser.
function draw({ panels, title, instance, from, to, step, width, cell, gap }) {
    const palette = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#a16ee8", "#37872d", "#ffee52", "#c0d8ff", "#ffa6b0", "#9fe6b8", "#e0b400", "#56a0d3"];
    const colours = { green: "#299c46", red: "#d44a3a", orange: "#e0752d", text: "#ccccdc" };
    const scaled = (value, base, names) => {
        let at = 0;
        while (Math.abs(value) >= base && at < names.length - 1) { value /= base; at += 1; }
        return `${Number(value.toPrecision(3))}${names[at]}`;
    };
    const span = (value) => {
        if (value === 0) return "0 s";
        const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]];
        const [size, name] = units.find(([size]) => Math.abs(value) >= size) ?? units[5];
        return `${Number((value / size).toPrecision(3))} ${name}`;
    };
    const format = (value, unit) => ({
        s: () => span(value),
        bytes: () => scaled(value, 1024, [" B", " KiB", " MiB", " GiB", " TiB"]),
        Bps: () => scaled(value, 1000, [" B/s", " kB/s", " MB/s", " GB/s"]),
        percentunit: () => `${Number((value * 100).toPrecision(3))}%`,
        short: () => scaled(value, 1000, ["", " K", " Mil", " Bil"]),
    }[unit] ?? (() => `${Number(value.toPrecision(4))}`))();

    const unit = (width - gap) / 24;
    const box = ({ x, y, w, h }) =>
        `left:${x * unit + gap}px;top:${y * (cell + gap) + 40}px;width:${w * unit - gap}px;height:${h * (cell + gap) - gap}px`;
    const make = (parent, name, style, text) => {
        const element = parent.appendChild(document.createElement("div"));
        element.className = name;
        element.style.cssText = style;
        if (text !== undefined) element.textContent = text;
        return element;
    };
    make(document.body, "head", "", `${title}   ·   ${instance}   ·   ${new Date(from * 1000).toISOString().slice(0, 16).replace("T", " ")} to ${new Date(to * 1000).toISOString().slice(11, 16)} UTC`);
    for (const panel of panels) {
        if (panel.type === "row") {
            make(document.body, "row", box(panel.gridPos), `⌄ ${panel.title}`);
            continue;
        }
        const frame = make(document.body, "panel", box(panel.gridPos));
        make(frame, "title", "", panel.title);
        const body = make(frame, "body", "");
        if (panel.series.length === 0) make(body, "value", "font-size:15px;color:#8e8e9a", "No data");
        else if (panel.type === "stat") stat(panel, body);
        else chart(panel, body);
    }

    function stat(panel, body) {
        const { defaults } = panel.fieldConfig;
        const [{ name, values }] = panel.series;
        const value = values.at(-1)[1];
        const mapped = (defaults.mappings ?? []).map(({ options }) => options[String(value)]).find(Boolean);
        const reached = defaults.thresholds.steps.filter((step) => step.value === null || value >= step.value).at(-1);
        const colour = colours[mapped?.color ?? reached.color];
        const filled = panel.options.colorMode === "background";
        const text = panel.options.textMode === "name" ? name : mapped?.text ?? format(defaults.decimals === 0 && value >= 1 ? Math.round(value) : value, defaults.unit);
        if (filled) body.parentElement.style.background = colour;
        make(body, "value", filled ? "color:#fff" : `color:#73bf69`, text);
    }

    function chart(panel, body) {
        const { defaults, overrides } = panel.fieldConfig;
        const dashed = new Set(overrides.map(({ matcher }) => matcher.options));
        const log = defaults.custom.scaleDistribution.type === "log";
        const grid = [];
        for (let time = from; time <= to; time += step) grid.push(time * 1000);
        const series = panel.series.map(({ name, values }, index) => {
            const at = new Map(values);
            const fit = (value) => (value === undefined || Number.isNaN(value) || (log && value <= 0) ? null : value);
            return {
                name, type: "line", showSymbol: false, animation: false, connectNulls: false,
                lineStyle: { width: 1.3, type: dashed.has(name) ? "dashed" : "solid" },
                areaStyle: dashed.has(name) || !defaults.custom.fillOpacity ? undefined : { opacity: defaults.custom.fillOpacity / 100 },
                color: palette[index % palette.length],
                data: grid.map((time) => [time, fit(at.get(time))]),
            };
        });
        const lines = Math.ceil(series.reduce((sum, { name }) => sum + name.length * 6.6 + 30, 0) / (body.clientWidth - 40));
        echarts.init(body, null, { renderer: "canvas" }).setOption({
            animation: false,
            textStyle: { color: colours.text, fontFamily: "sans-serif" },
            grid: { left: 62, right: 14, top: 8, bottom: 28 + 17 * lines },
            legend: { bottom: 0, left: 2, itemWidth: 14, itemHeight: 3, itemGap: 9, padding: 2, icon: "rect", textStyle: { color: colours.text, fontSize: 11, lineHeight: 13 } },
            xAxis: { type: "time", min: from * 1000, max: to * 1000, splitNumber: 4, axisLine: { lineStyle: { color: "#55565c" } }, splitLine: { show: true, lineStyle: { color: "#2c2f36" } },
                axisLabel: { color: "#a0a0ac", fontSize: 11, hideOverlap: true, formatter: (time) => new Date(time).toISOString().slice(11, 16) } },
            yAxis: { type: log ? "log" : "value", min: log ? undefined : defaults.min, max: defaults.max, interval: defaults.max ? defaults.max / 4 : undefined, splitNumber: 4,
                axisLabel: { color: "#a0a0ac", fontSize: 11, formatter: (value) => format(value, defaults.unit) }, splitLine: { lineStyle: { color: "#2c2f36" } } },
            series,
        });
    }
}

const data = JSON.stringify({ panels, title: dashboard.title, instance, from, to, step, width, cell, gap }).replaceAll("<", "\\u003c");
process.stdout.write(`<!DOCTYPE html>
<meta charset="utf-8">
<title>${dashboard.title}</title>
<style>
body { margin: 0; background: #111217; color: #ccccdc; font: 13px sans-serif; }
.head { position: absolute; left: 10px; top: 10px; font-size: 17px; white-space: pre; }
.row { position: absolute; font-size: 16px; font-weight: 600; line-height: 34px; }
.panel { position: absolute; background: #181b1f; border: 1px solid #25272d; border-radius: 2px; box-sizing: border-box; }
.title { position: absolute; left: 8px; top: 6px; font-weight: 600; }
.body { position: absolute; left: 4px; right: 4px; top: 28px; bottom: 4px; }
.value { display: flex; height: 100%; align-items: center; justify-content: center; font-size: 28px; font-weight: 600; padding-bottom: 6px; text-align: center; }
</style>
<body></body>
<script>${readFileSync(charts, "utf8").replaceAll("</script", "<\\/script")}</script>
<script>(${draw.toString()})(${data});</script>
`);
process.stderr.write(`${height}\n`);
