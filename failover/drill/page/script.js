"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  const tip = document.getElementById("tip");
  const reset = document.getElementById("reset");
  const note = document.getElementById("note");
  const SPACE = "http://www.w3.org/2000/svg";
  const LEFT = 164, RIGHT = 14, LANE = 74, GAP = 10, CURVE = 92, AXIS = 24, TOP = 4;
  const numbers = new Map(data.events.map((event, number) => [event[0], number]));
  // Where the picture ends: with the last mark, if that is after the load.
  const last = data.lanes.reduce((most, lane) => Math.max(most, ...lane.attempts.slice(-50).map((one) => one[1])), data.duration);
  const whole = [0, Math.max(data.duration, Math.min(last, data.duration * 1.25))];
  let view = whole.slice();
  let chosen = new Set();
  let hits = [];

  const make = (name, attributes, parent) => {
    const element = document.createElementNS(SPACE, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(element);
    return element;
  };
  const text = (content, attributes, parent) => { make("text", attributes, parent).textContent = content; };
  const seconds = (value) => (value >= 1 ? `${+value.toFixed(2)} s` : `${+(value * 1e3).toFixed(value < 0.01 ? 2 : 0)} ms`);
  const steps = (from, to, most) => {
    const raw = (to - from) / most || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
    const found = [];
    for (let at = Math.ceil(from / step - 1e-9) * step; at <= to + step * 1e-9; at += step) found.push(+at.toFixed(9));
    return found;
  };

  // The shape of a mark by its outcome, so that it doesn't depend on colour alone.
  const shape = (kind, x, y) => {
    switch (data.outcomes[kind]) {
      case "confirmed": return `M${x} ${y - 6}V${y + 6}`;
      case "sent": return `M${x} ${y - 6}V${y + 6}M${x - 2} ${y + 3}L${x} ${y + 6}L${x + 2} ${y + 3}`;
      case "rejected": return `M${x} ${y - 5}L${x + 5} ${y}L${x} ${y + 5}L${x - 5} ${y}Z`;
      case "unreachable": return `M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}`;
      case "unconfirmed": return `M${x} ${y - 5}L${x + 5} ${y + 4}H${x - 5}Z`;
      case "abandoned": return `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`;
      default: return `M${x - 2} ${y}H${x + 2}`;
    }
  };
  const good = (kind) => ["confirmed", "sent"].includes(data.outcomes[kind]);

  const draw = () => {
    const width = Math.max(640, chart.clientWidth);
    const height = TOP + data.lanes.length * (LANE + GAP) + 2 * (CURVE + GAP + 12) + AXIS;
    const [from, to] = view;
    const x = (at) => LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT);
    const inside = (at) => at >= from - 1e-9 && at <= to + 1e-9;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
    make("title", {}, svg).textContent = "What became of every attempt, by subscriber and time";
    const clip = make("clipPath", { id: "inside" }, make("defs", {}, svg));
    make("rect", { x: LEFT, y: 0, width: width - LEFT - RIGHT, height }, clip);
    hits = [];

    const ticks = steps(from, to, 10);
    const base = height - AXIS;
    const lanes = make("g", { class: chosen.size ? "dim" : "" }, svg);
    data.lanes.forEach((lane, row) => {
      const top = TOP + row * (LANE + GAP);
      make("rect", { class: "lane", x: LEFT, y: top, width: width - LEFT - RIGHT, height: LANE, rx: 3 }, lanes);
      text(lane.name, { class: "name", x: 0, y: top + 30 }, lanes);
      text("attempts", { x: LEFT - 8, y: top + 33, "text-anchor": "end" }, lanes);
      text("processed", { x: LEFT - 8, y: top + 57, "text-anchor": "end" }, lanes);
    });
    for (const at of ticks) {
      make("line", { class: "grid", x1: x(at), x2: x(at), y1: TOP, y2: base }, svg);
      text(`${+at.toFixed(6)} s`, { x: x(at), y: base + 17, "text-anchor": "middle" }, svg);
    }
    const inner = make("g", { "clip-path": "url(#inside)" }, svg);
    faults(inner, x, base);
    const marks = make("g", { class: chosen.size ? "dim" : "" }, inner);
    data.lanes.forEach((lane, row) => drawLane(lane, row, TOP + row * (LANE + GAP), marks, x, inside));
    let top = TOP + data.lanes.length * (LANE + GAP) + 12;
    rates(svg, inner, x, top, width);
    top += CURVE + GAP + 12;
    latencies(svg, inner, x, top, width);
    for (const at of data.parts) {
      if (inside(at)) make("line", { class: "part", x1: x(at), x2: x(at), y1: TOP, y2: base }, inner);
    }
    choose(inner, x);
    chart.replaceChildren(svg);
    reset.hidden = view[0] === whole[0] && view[1] === whole[1] && !chosen.size;
    follow(svg, x, width, base);
  };

  const faults = (inner, x, base) => {
    const over = make("g", {}, inner);
    for (const band of data.bands) {
      const row = data.lanes.findIndex((lane) => lane.name === band.on);
      const top = TOP + row * (LANE + GAP);
      const until = band.to === null ? whole[1] : band.to;
      const lasts = until > band.from;
      if (lasts) make("rect", { class: "band", "data-fault": band.what, x: x(band.from), y: top, width: Math.max(2, x(until) - x(band.from)), height: LANE }, over);
      make("line", { class: "edge", x1: x(band.from), x2: x(band.from), y1: top, y2: top + LANE }, over);
      const next = Math.min(...data.bands.filter((one) => one.on === band.on && one.from > band.from).map((one) => one.from));
      if (x(Math.min(next, whole[1] * 2)) - x(band.from) > 6.5 * band.what.length + 8) text(band.what.replaceAll("_", " "), { class: "what", x: x(band.from) + 5, y: top + 13 }, over);
      hits.push({ x: x(band.from), until: x(until), y: top + 9, reach: 9, tell: () => `${band.what} on ${band.on}\n${seconds(band.from)} to ${band.to === null ? "the end" : seconds(until)}` });
    }
  };

  const drawLane = (lane, row, top, parent, x, inside) => {
    const line = top + 29, under = top + 53, foot = top + LANE - 8;
    const paths = new Map();
    const add = (name, path) => paths.set(name, (paths.get(name) || "") + path);
    const counts = new Map();
    for (const [began, ended, kind, event, reason] of lane.attempts) {
      const name = data.outcomes[kind];
      counts.set(name, (counts.get(name) || 0) + 1);
      if (!inside(began) && !inside(ended)) continue;
      const y = good(kind) ? line : line + 1, at = x(began);
      add(`mark ${name}`, shape(kind, +at.toFixed(1), y));
      if (x(ended) - at > 3) add(`span ${name}`, `M${at.toFixed(1)} ${y}H${x(ended).toFixed(1)}`);
      hits.push({ x: at, until: at, y, reach: 12, event, name, path: shape(kind, +at.toFixed(1), y), tell: () => `${lane.name}: ${name} after ${seconds(ended - began)}${reason ? `, ${reason}` : ""}\n\n${data.events[event][3]}` });
    }
    for (const [at, again, event] of lane.processed) {
      const name = again ? "again" : "processed";
      counts.set(name, (counts.get(name) || 0) + 1);
      if (!inside(at)) continue;
      const place = x(at);
      const path = again ? `M${(place - 2.5).toFixed(1)} ${under - 5}V${under + 5}M${(place + 2.5).toFixed(1)} ${under - 5}V${under + 5}` : `M${place.toFixed(1)} ${under - 4}V${under + 4}`;
      add(`mark ${name}`, path);
      hits.push({ x: place, until: place, y: under, reach: 11, event, name, path, tell: () => `${lane.name}: processed${again ? " again" : ""} at ${seconds(at)}\n\n${data.events[event][3]}` });
    }
    const most = Math.max(1, ...lane.mass.map((one) => one[2]));
    for (const [at, kind, number] of lane.mass) {
      const name = kind < 0 ? "processed" : data.outcomes[kind];
      counts.set(name, (counts.get(name) || 0) + number);
      if (!inside(at) && !inside(at + data.mass)) continue;
      const tall = Math.max(1.5, (number / most) * 16), y = kind < 0 ? under : line;
      add(`mass ${name}`, `M${x(at).toFixed(1)} ${y + tall / 2}H${Math.max(x(at) + 1, x(at + data.mass) - 0.5).toFixed(1)}V${y - tall / 2}H${x(at).toFixed(1)}Z`);
      hits.push({ x: x(at), until: x(at + data.mass), y, reach: 8, tell: () => `${lane.name}: ${number} ${name}\nfrom ${seconds(at)} on, for ${seconds(data.mass)}` });
    }
    for (const [out, back, reason] of lane.out) {
      make("rect", { class: "outbar", x: x(out), y: foot, width: Math.max(1.5, x(back) - x(out)), height: 5 }, parent);
      hits.push({ x: x(out), until: x(back), y: foot + 2, reach: 5, tell: () => `${lane.name} quarantined for ${seconds(back - out)}\n${reason}` });
    }
    for (const [name, path] of paths) {
      make("path", { class: name, d: path, style: name.startsWith("mass") ? "fill: var(--c)" : "stroke: var(--c)" }, parent);
    }
    parent.dataset[`lane${row}`] = JSON.stringify(Object.fromEntries(counts));
  };

  const frame = (svg, title, top, width, marks) => {
    make("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: top + CURVE, y2: top + CURVE }, svg);
    text(title, { class: "name", x: 0, y: top + 12 }, svg);
    for (const [y, label] of marks) {
      make("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }, svg);
      text(label, { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, svg);
    }
  };
  const labelled = (svg, names, top) => names.forEach(([name, title], number) => {
    make("rect", { x: 0, y: top + 23 + number * 16, width: 9, height: 9, rx: 2, style: `fill: var(--${name})` }, svg);
    text(title, { x: 14, y: top + 31.5 + number * 16 }, svg);
  });

  const rates = (svg, inner, x, top, width) => {
    const { width: wide, rows } = data.slots;
    const most = Math.max(1e-9, ...rows.map((row) => Math.max(row[0], row[1] + row[2]) / wide));
    const y = (value) => top + CURVE - (value / (most * 1.08)) * CURVE;
    frame(svg, "Events a second", top, width, steps(0, most, 3).filter((at) => at > 0).map((at) => [y(at), `${at}`]));
    labelled(svg, [["sent", "raised"], ["confirmed", "confirmed"], ["unreachable", "not confirmed"]], top);
    const stairs = (column) => rows.map((row, number) => `${number ? "L" : "M"}${x(number * wide).toFixed(1)} ${y(row[column] / wide).toFixed(1)}H${x((number + 1) * wide).toFixed(1)}`).join("");
    const closed = (column) => `${stairs(column)}V${y(0)}H${x(0)}Z`;
    make("path", { class: "area", d: closed(1), style: "fill: var(--confirmed)" }, inner);
    if (rows.some((row) => row[2])) make("path", { class: "area", d: closed(2), style: "fill: var(--unreachable); fill-opacity: .5" }, inner);
    make("path", { class: "curve", d: stairs(1), style: "stroke: var(--confirmed)" }, inner);
    make("path", { class: "curve", d: stairs(0), style: "stroke: var(--sent); stroke-dasharray: 4 3; stroke-width: 1.3" }, inner);
    rows.forEach((row, number) => hits.push({ x: x(number * wide), until: x((number + 1) * wide), y: top + CURVE / 2, reach: CURVE / 2, tell: () => `raised from ${seconds(number * wide)} on, for ${seconds(wide)}: ${row[0]}\nconfirmed ${row[1]}, not confirmed ${row[2]}` }));
  };

  const latencies = (svg, inner, x, top, width) => {
    const { width: wide, rows } = data.slots;
    const known = rows.flatMap((row) => [row[3], row[4]]).filter((one) => one !== null && one > 0);
    const low = 10 ** Math.floor(Math.log10(Math.min(0.001, ...known)) + 1e-9);
    const high = 10 ** Math.ceil(Math.log10(Math.max(low * 10, ...known)) - 1e-9);
    const y = (value) => top + CURVE - (Math.log10(Math.max(low, value) / low) / Math.log10(high / low)) * (CURVE - 4);
    const marks = [];
    for (let at = low; at <= high * 1.001; at *= 10) marks.push([y(at), seconds(at)]);
    frame(svg, "Time to confirm", top, width, marks.length > 5 ? marks.filter((_, number) => number % 2 === 0) : marks);
    labelled(svg, [["confirmed", "half within"], ["unconfirmed", "99 % within"]], top);
    const curve = (column) => {
      let path = "", pen = false;
      rows.forEach((row, number) => {
        if (row[column] === null) { pen = false; return; }
        path += `${pen ? "L" : "M"}${x(number * wide).toFixed(1)} ${y(row[column]).toFixed(1)}H${x((number + 1) * wide).toFixed(1)}`;
        pen = true;
      });
      return path;
    };
    make("path", { class: "curve", d: curve(4), style: "stroke: var(--unconfirmed)" }, inner);
    make("path", { class: "curve", d: curve(3), style: "stroke: var(--confirmed)" }, inner);
    rows.forEach((row, number) => row[3] !== null && hits.push({ x: x(number * wide), until: x((number + 1) * wide), y: top + CURVE / 2, reach: CURVE / 2, tell: () => `raised from ${seconds(number * wide)} on, for ${seconds(wide)}:\nhalf confirmed within ${seconds(row[3])}, 99 % within ${seconds(row[4])}` }));
  };

  // Rings around all marks of the chosen events, and what belongs together joined.
  const choose = (inner, x) => {
    if (!chosen.size) return;
    const group = make("g", { id: "chosen" }, inner);
    const places = new Map();
    for (const hit of hits) {
      if (hit.event === undefined || !chosen.has(hit.event)) continue;
      make("path", { class: `mark ${hit.name}`, d: hit.path, style: "stroke: var(--c)" }, group);
      make("circle", { class: "chosen", cx: hit.x, cy: hit.y, r: 8 }, group);
      places.set(hit.event, [...(places.get(hit.event) || []), hit]);
    }
    if (places.size <= 20) {
      for (const found of places.values()) {
        make("path", { class: "chosen", style: "stroke-width: 1; stroke-opacity: .6", d: "M" + found.map((hit) => `${hit.x.toFixed(1)} ${hit.y}`).join("L") }, group);
      }
    }
  };

  const follow = (svg, x, width, base) => {
    let start = null, brush = null;
    const cursor = make("line", { class: "cursor", y1: TOP, y2: base, visibility: "hidden" }, svg);
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      return [(event.clientX - box.left) * (width / box.width), event.clientY - box.top];
    };
    const time = (at) => view[0] + ((Math.min(width - RIGHT, Math.max(LEFT, at)) - LEFT) / (width - LEFT - RIGHT)) * (view[1] - view[0]);
    svg.addEventListener("pointerdown", (event) => { if (event.button === 0 && place(event)[0] >= LEFT) { start = place(event)[0]; svg.setPointerCapture(event.pointerId); } });
    svg.addEventListener("pointerup", (event) => {
      const end = place(event)[0];
      if (start !== null && Math.abs(end - start) > 6) { view = [time(Math.min(start, end)), time(Math.max(start, end))]; draw(); }
      else if (start !== null) {
        const hit = nearest(...place(event));
        chosen = new Set(hit && hit.event !== undefined ? [hit.event] : []);
        unmark();
        draw();
      }
      start = null;
    });
    svg.addEventListener("pointermove", (event) => {
      const [at, down] = place(event);
      if (start !== null) {
        brush = brush || make("rect", { class: "brush", y: TOP, height: base - TOP }, svg);
        brush.setAttribute("x", Math.min(start, at));
        brush.setAttribute("width", Math.abs(at - start));
        tip.hidden = true;
        return;
      }
      cursor.setAttribute("visibility", at >= LEFT && at <= width - RIGHT ? "visible" : "hidden");
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      const hit = nearest(at, down);
      tip.hidden = !hit;
      if (hit) {
        tip.textContent = hit.tell();
        const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
        const above = event.clientY + 18 + tip.offsetHeight > innerHeight;
        tip.style.left = `${Math.max(8, left)}px`;
        tip.style.top = `${above ? Math.max(8, event.clientY - tip.offsetHeight - 12) : event.clientY + 18}px`;
      }
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); });
  };

  const nearest = (at, down) => {
    let best = null, least = 9;
    for (const hit of hits) {
      if (Math.abs(down - hit.y) > hit.reach) continue;
      const off = at < hit.x ? hit.x - at : at > hit.until ? at - hit.until : hit.until > hit.x ? 4 : 0;
      if (off < least) { least = off; best = hit; }
    }
    return best;
  };

  const unmark = () => document.querySelectorAll(".finding.on").forEach((one) => one.classList.remove("on"));
  document.querySelectorAll(".finding").forEach((button) => button.addEventListener("click", () => {
    const on = button.classList.contains("on");
    unmark();
    chosen = new Set();
    view = whole.slice();
    if (!on) {
      button.classList.add("on");
      const found = JSON.parse(button.dataset.events).map((event) => numbers.get(event)).filter((number) => number !== undefined);
      chosen = new Set(found);
      const spans = found.map((number) => data.events[number]).filter((event) => event[1] !== null);
      const at = +button.dataset.at;
      const from = Math.min(at, ...spans.map((event) => event[1])), to = Math.max(at, ...spans.map((event) => event[2]));
      const room = Math.max(0.25, (to - from) * 0.4, whole[1] / 40);
      view = [Math.max(whole[0], from - room), Math.min(whole[1], to + room)];
      if (view[1] <= view[0]) view = whole.slice();
      document.getElementById("time").scrollIntoView({ block: "nearest" });
    }
    draw();
  }));
  reset.addEventListener("click", () => { view = whole.slice(); chosen = new Set(); unmark(); draw(); });
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  const drawn = data.lanes.reduce((sum, lane) => sum + lane.attempts.length, 0);
  if (data.kept < data.entries) note.textContent = `the newest ${data.kept.toLocaleString("en")} of ${data.entries.toLocaleString("en")} entries`;
  else if (data.lanes.some((lane) => lane.mass.length)) note.textContent = `${drawn.toLocaleString("en")} attempts one by one, the others as masses`;
  document.querySelectorAll(".legend span").forEach((entry) => {
    const kind = data.outcomes.indexOf(entry.className);
    if (kind < 0) return;
    const svg = make("svg", { width: 15, height: 14, viewBox: "-7.5 -7 15 14" });
    make("path", { class: "mark", d: shape(kind, 0, 0), style: "stroke: var(--c)" }, svg);
    entry.firstChild.replaceWith(svg);
  });
  let waiting = 0;
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); });
  draw();
})();
