"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const [map, path, tip, said] = ["map", "path", "tip", "said"].map((id) => document.getElementById(id));
  const LEVELS = 5, TITLE = 18, SMALLEST = 3, ROOM_FOR_TEXT = 34, GOLDEN = 137.508;
  let measure = "stored", here = report.tree;

  const link = (node, parent) => {
    node.parent = parent;
    (node.children || []).forEach((child) => link(child, node));
  };
  link(report.tree, null);
  report.tree.name = report.version;

  const trail = (node) => (node.parent ? [...trail(node.parent), node] : [node]);
  const hash = (node) => "#" + trail(node).slice(1).map((n) => "/" + encodeURIComponent(n.name)).join("");
  const room = (node) => ((node.children || []).length ? node : node.parent || node);
  const share = (part, whole) => (whole ? (part * 100) / whole : 0).toFixed(1) + " %";
  const size = (bytes) =>
    bytes < 2 ** 10 ? bytes + " B"
      : bytes < 2 ** 20 ? (bytes / 2 ** 10).toFixed(1) + " KiB"
      : bytes < 2 ** 30 ? (bytes / 2 ** 20).toFixed(1) + " MiB"
      : (bytes / 2 ** 30).toFixed(2) + " GiB";
  const kinds = { package: "Debian package" };
  const kind = (node) => kinds[node.kind] || node.kind;

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  /* Rows of rectangles that are as square as they can be (Bruls, Huizing, van Wijk 2000). The items are the largest first. */
  const squarify = (items, x, y, w, h, place) => {
    const total = items.reduce((sum, item) => sum + item[measure], 0);
    if (!total || w <= 0 || h <= 0) return;
    const scale = (w * h) / total;
    let row = [], area = 0, at = 0;
    const worst = (sum, least, most, side) => Math.max((side * side * most) / (sum * sum), (sum * sum) / (side * side * least));
    const lay = () => {
      const along = w < h ? w : h, across = area / along;
      let offset = 0;
      for (const item of row) {
        const length = (item[measure] * scale) / across;
        if (w < h) place(item, x + offset, y, length, across);
        else place(item, x, y + offset, across, length);
        offset += length;
      }
      if (w < h) { y += across; h -= across; } else { x += across; w -= across; }
      row = []; area = 0;
    };
    while (at < items.length) {
      const next = items[at][measure] * scale, side = Math.min(w, h);
      const first = row.length ? row[0][measure] * scale : next, last = row.length ? row[row.length - 1][measure] * scale : next;
      if (row.length && worst(area + next, next, first, side) > worst(area, last, first, side)) { lay(); continue; }
      row.push(items[at]); area += next; at += 1;
    }
    if (row.length) lay();
  };

  const about = (node) =>
    `${node.name}, ${kind(node)}, ${size(node[measure])}, ${share(node[measure], here[measure])} of ${here.name}`;

  const draw = (node, x, y, w, h, level, hue) => {
    const sorted = (node.children || []).filter((child) => child[measure] > 0).sort((a, b) => b[measure] - a[measure]);
    squarify(sorted, x, y, w, h, (child, cx, cy, cw, ch) => {
      if (cw < SMALLEST || ch < SMALLEST) return;
      // partitions and components are told apart by their colour, what is in them by its neighbours
      const index = sorted.indexOf(child);
      const apart = !level || child.kind === "component";
      const shade = apart ? (index * GOLDEN + 210 + level * 95) % 360 : hue + ((index % 5) - 2) * 6;
      const box = element("a", null, { href: hash(room(child)), "aria-label": about(child), class: child.kind });
      box.classList.toggle("deep", level > 0);
      box.classList.toggle("bare", cw <= ROOM_FOR_TEXT);
      Object.assign(box.style, { left: cx + "px", top: cy + "px", width: cw + "px", height: ch + "px" });
      box.style.setProperty("--hue", shade.toFixed(0));
      box.style.setProperty("--step", level * 2.2 + "%");
      box.node = child;
      if (cw > ROOM_FOR_TEXT && ch > 15) {
        box.append(child.name);
        if (cw > 110) box.append(element("span", size(child[measure])));
      }
      map.append(box);
      const inner = (child.children || []).length && level + 1 < LEVELS && cw > 24 && ch > TITLE + 12;
      if (inner) draw(child, cx + 3, cy + TITLE, cw - 6, ch - TITLE - 3, level + 1, shade);
    });
  };

  const row = (table, cells) => {
    const line = table.insertRow();
    for (const cell of cells) {
      const made = line.insertCell();
      if (cell instanceof Node) made.append(cell);
      else if (Array.isArray(cell)) { made.textContent = cell[0]; made.className = cell[1]; }
      else made.textContent = cell;
    }
  };

  const largest = () => {
    const found = [];
    const walk = (node) => {
      const whole = node !== here && ["package", "file", "structure"].includes(node.kind);
      if (whole || !(node.children || []).length) found.push(node);
      else node.children.forEach(walk);
    };
    walk(here);
    const table = document.getElementById("largest");
    table.replaceChildren();
    found.sort((a, b) => b[measure] - a[measure]).slice(0, 12).forEach((node) => {
      row(table, [element("a", node.name, { href: hash(room(node)), title: trail(node).map((n) => n.name).join(" › ") }),
        size(node[measure]), share(node[measure], here[measure])]);
    });
  };

  const show = () => {
    tip.hidden = true;
    map.replaceChildren();
    draw(here, 0, 0, map.clientWidth, map.clientHeight, 0, 0);
    if (!map.firstChild) map.append(element("p", "There is nothing to show here."));
    path.replaceChildren(...trail(here).map((node) => {
      const item = element("li", null), step = element("a", node.name, { href: hash(node) || "#" });
      if (node === here) {
        step.setAttribute("aria-current", "location");
        step.append(` ${size(node.stored)} in the image, ${size(node.plain)} unpacked`);
      }
      item.append(step);
      return item;
    }));
    largest();
  };

  /* The node of the address; the nearest above it that there is, when names have changed. */
  const follow = () => {
    let node = report.tree;
    for (const name of location.hash.replace(/^#\/?/, "").split("/").filter(Boolean)) {
      const next = (node.children || []).find((child) => child.name === decodeURIComponent(name));
      if (!next) break;
      node = next;
    }
    here = room(node);
    show();
    said.textContent = about(here);
  };

  const point = (box, x, y) => {
    const node = box.node;
    tip.replaceChildren(
      element("b", trail(node).slice(1).map((n) => n.name).join(" › ")),
      `${kind(node)}: ${size(node.stored)} in the image, ${size(node.plain)} unpacked`,
      element("br", null),
      `${share(node.stored, report.tree.stored)} of the image, ${share(node.stored, node.parent ? node.parent.stored : 0)} of ${node.parent ? node.parent.name : ""}`,
    );
    if (node.note) tip.append(element("br", null), node.note);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18) + "px";
  };

  const meter = (budget) => {
    const over = budget.size > budget.limit;
    const bar = element("meter", null, { min: 0, max: budget.limit, value: Math.min(budget.size, budget.limit) });
    bar.setAttribute("aria-label", share(budget.size, budget.limit));
    const left = over ? `${size(budget.size - budget.limit)} over` : `${size(budget.limit - budget.size)} left`;
    return [bar, [left, over ? "bad" : "good"]];
  };
  report.budgets.forEach((b) => row(document.getElementById("budgets"), [b.name, size(b.size), ...meter(b)]));
  const fits = document.getElementById("fits");
  const heads = fits.createTHead().insertRow();
  ["layout", ...(report.fits[0] || { parts: [] }).parts.map((part) => part.part)].forEach((name) =>
    heads.append(element("th", name, { scope: "col" })));
  report.fits.forEach((fit) => {
    const cells = fit.parts.map((part) => {
      const apart = size(Math.abs(part.has - part.needs));
      return part.needs <= part.has ? [apart, "good"] : ["−" + apart, "bad"];
    });
    row(fits.tBodies[0] || fits.createTBody(), [element("span", fit.layout, { title: fit.summary }), ...cells]);
  });

  map.addEventListener("mousemove", (event) => {
    const box = event.target.closest("a");
    if (box) point(box, event.clientX, event.clientY); else tip.hidden = true;
  });
  map.addEventListener("mouseleave", () => { tip.hidden = true; });
  map.addEventListener("focusin", (event) => {
    const box = event.target.closest("a");
    if (!box || !box.matches(":focus-visible")) return;
    const { left, top } = box.getBoundingClientRect();
    point(box, left, top);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.key === "Escape" || event.key === "Backspace") && here.parent) location.hash = hash(here.parent) || "#";
  });
  document.querySelectorAll("input[name=measure]").forEach((input) => {
    input.addEventListener("change", () => { measure = input.value; show(); });
  });
  addEventListener("hashchange", follow);
  addEventListener("resize", show);
  follow();
})();
