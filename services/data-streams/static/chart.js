// Charts as SVG: bars over time, and bars by category.

import { h, svg } from "./dom.js";
import { number, when } from "./words.js";

const HEIGHT = 150;
const LEFT = 48;
const BOTTOM = 22;
const TOP = 10;

/** A drawing grows with the page, so on a phone it is smaller, that its text can be read. */
const isNarrow = () => window.matchMedia("(max-width: 40rem)").matches;

/** A number at the end of an axis: a round one that is not below the largest value. */
export function roundUp(value) {
    if (value <= 0) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 5, 10].map((it) => it * power).find((it) => it >= value);
}

/**
 * Bars over time. `points` are `{ at, value }`; those of one part of the time are added
 * up. The same `from` and `to` make charts comparable.
 */
export function timeChart(title, points, { from, to, parts = 48, kind = "" }) {
    const span = Math.max(1, to - from);
    const sums = new Array(parts).fill(0);
    for (const { at, value } of points) {
        sums[Math.min(parts - 1, Math.floor(((at - from) / span) * parts))] += value;
    }
    const top = roundUp(Math.max(...sums));
    const full = isNarrow() ? 340 : 560;
    const width = (full - LEFT) / parts;
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const bars = sums.map((sum, index) => {
        if (sum === 0) return null;
        const began = from + (span / parts) * index;
        const text = `${when(began)}: ${number(sum)}`;
        return svg(
            "rect",
            {
                class: `mark ${kind}`,
                x: LEFT + index * width + 1,
                y: Math.min(y(sum), HEIGHT - BOTTOM - 1.5),
                width: Math.max(1, width - 2),
                height: Math.max(1.5, HEIGHT - BOTTOM - y(sum)),
                rx: 1.5,
            },
            svg("title", {}, text),
        );
    });
    const total = sums.reduce((sum, it) => sum + it, 0);
    return figure(title, `${title}: ${number(total)} from ${when(from)} to ${when(to)}`, [full, HEIGHT], [
        grid(top, y, full),
        bars,
        label(LEFT, HEIGHT - 6, when(from), "start"),
        label(full, HEIGHT - 6, when(to), "end"),
    ]);
}

function grid(top, y, full) {
    return [0, 0.5, 1].map((share) => [
        svg("line", { class: "grid", x1: LEFT, x2: full, y1: y(top * share), y2: y(top * share) }),
        label(LEFT - 8, y(top * share) + 4, short(top * share), "end"),
    ]);
}

function label(x, y, text, anchor) {
    return svg("text", { x, y, "text-anchor": anchor }, text);
}

/** A number in little room, such as 1.2k. */
function short(value) {
    return Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

const ROW = 26;

/** Horizontal bars, one for each `{ name, value }`. */
export function barChart(title, bars) {
    const top = Math.max(...bars.map((it) => it.value), 0) || 1;
    const height = bars.length * ROW + 4;
    const [full, names, letters] = isNarrow() ? [340, 120, 17] : [720, 200, 28];
    const room = full - names - 64;
    const rows = bars.map(({ name, value }, index) => {
        const width = Math.max(value > 0 ? 2 : 0, (Math.max(0, value) / top) * room);
        const y = index * ROW;
        return [
            label(names - 8, y + 17, name.length > letters ? `${name.slice(0, letters - 1)}…` : name, "end"),
            svg("rect", { class: "mark", x: names, y: y + 4, width, height: ROW - 8, rx: 2 }, svg("title", {}, `${name}: ${value}`)),
            label(names + width + 6, y + 17, number(value), "start"),
        ];
    });
    return figure(title, `${title}: ${bars.length} bars; the table has the same numbers`, [full, height], rows);
}

function figure(title, description, [width, height], content) {
    return h(
        "figure",
        { class: "chart" },
        h("figcaption", {}, title),
        svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description }, content),
    );
}
