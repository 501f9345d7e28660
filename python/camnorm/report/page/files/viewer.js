"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  // Dark and light mode

  const theme = byId("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const nameTheme = () => { theme.textContent = isDark() ? "Light mode" : "Dark mode"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
    draw();
  });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  if (typeof DecompressionStream === "undefined") return;
  root.classList.add("js");
  byId("viewer").hidden = false;

  // Data

  const settings = JSON.parse(byId("settings").textContent);
  const [height, width] = settings.shape;
  const { tile: TILE, cell: CELL, codes } = settings;
  const bytesOf = (text) => {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  };
  const images = settings.images.map((image, number) => ({
    grid: image.grid,
    surroundings: new Float32Array(bytesOf(image.surroundings).buffer),
    tiles: byId(`tiles-${number}`).textContent,
    levels: image.levels.map((level) => ({ ...level, values: valuesOf(level.step) })),
  }));
  const marks = settings.marks.map((mark) => ({
    ...mark,
    places: new Uint32Array(bytesOf(mark.places).buffer),
    shown: mark.count > 0,
  }));

  // Difference from the surroundings of each code.
  function valuesOf(step) {
    const values = new Float32Array(256);
    for (let code = 0; code < 256; code++) {
      const steps = code - codes.zero;
      const size = Math.abs(steps);
      const far = size > codes.linear ? codes.linear * codes.growth ** (size - codes.linear) : size;
      values[code] = code === codes.nothing ? NaN : Math.sign(steps) * far * step;
    }
    return values;
  }

  // Cells on both sides of a place in pixels, and the weight of the second.
  function between(place, cells) {
    const at = Math.min(Math.max(place / CELL - 0.5, 0), cells - 1);
    const first = Math.floor(at);
    return [first, Math.min(first + 1, cells - 1), at - first];
  }

  function surroundingsAt(image, x, y) {
    const [rows, columns] = image.grid;
    const [above, below, down] = between(y + 0.5, rows);
    const [left, right, along] = between(x + 0.5, columns);
    const row = (r) => image.surroundings[r * columns + left] * (1 - along) + image.surroundings[r * columns + right] * along;
    return row(above) * (1 - down) + row(below) * down;
  }

  // Tiles

  const cache = new Map(); // what was used last comes last
  const waiting = [];
  const MOST = 300;
  let decoding = 0;

  function tileOf(image, level, row, column) {
    const key = `${image} ${level} ${row} ${column}`;
    let tile = cache.get(key);
    if (tile) {
      cache.delete(key);
      cache.set(key, tile);
      return tile;
    }
    const [rows, columns] = images[image].levels[level].shape;
    tile = {
      image, level, row, column, codes: null, canvas: null, stamp: "",
      rows: Math.min(TILE, rows - row * TILE),
      columns: Math.min(TILE, columns - column * TILE),
    };
    cache.set(key, tile);
    waiting.push(tile);
    if (cache.size > MOST) cache.delete(cache.keys().next().value);
    decodeNext();
    return tile;
  }

  function decodeNext() {
    while (decoding < 4 && waiting.length) {
      const tile = waiting.pop(); // what was asked for last is what is seen
      decoding++;
      decode(tile).finally(() => {
        decoding--;
        decodeNext();
        schedule();
      });
    }
  }

  async function decode(tile) {
    const level = images[tile.image].levels[tile.level];
    const across = Math.ceil(level.shape[1] / TILE);
    const number = tile.row * across + tile.column;
    const text = images[tile.image].tiles.slice(level.offsets[number], level.offsets[number + 1]);
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    tile.codes = new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Grey levels of a tile in a view; pixels without a value are magenta.
  function paint(tile, view, low, high) {
    const stamp = `${view.local} ${low} ${high}`;
    if (tile.stamp === stamp) return;
    const image = images[tile.image];
    const level = image.levels[tile.level];
    const [rows, columns] = image.grid;
    const picture = new ImageData(tile.columns, tile.rows);
    const pixels = new Uint32Array(picture.data.buffer);
    const gain = 255 / (high - low);
    const wide = new Float32Array(tile.columns);
    const places = Array.from({ length: tile.columns }, (_, i) => between((tile.column * TILE + i + 0.5) * level.factor, columns));
    let at = 0;
    for (let i = 0; i < tile.rows; i++) {
      if (!view.local) {
        const [above, below, down] = between((tile.row * TILE + i + 0.5) * level.factor, rows);
        for (let j = 0; j < tile.columns; j++) {
          const [left, right, along] = places[j];
          const top = image.surroundings[above * columns + left] * (1 - along) + image.surroundings[above * columns + right] * along;
          const bottom = image.surroundings[below * columns + left] * (1 - along) + image.surroundings[below * columns + right] * along;
          wide[j] = top * (1 - down) + bottom * down;
        }
      }
      for (let j = 0; j < tile.columns; j++, at++) {
        const code = tile.codes[at];
        if (code === codes.nothing) { pixels[at] = 0xff9000c8; continue; }
        const grey = Math.min(Math.max((wide[j] + level.values[code] - low) * gain, 0), 255) | 0;
        pixels[at] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
    }
    tile.canvas ??= Object.assign(document.createElement("canvas"), { width: tile.columns, height: tile.rows });
    tile.canvas.getContext("2d").putImageData(picture, 0, 0);
    tile.stamp = stamp;
  }

  // View

  const stage = byId("stage");
  const canvas = stage.querySelector("canvas");
  const context = canvas.getContext("2d");
  const LARGEST = 64;
  let view = 0;
  let scale = 1; // screen pixels of a pixel
  let centre = { x: width / 2, y: height / 2 };
  let planned = false;
  let byKeys = false;

  const size = () => ({ width: stage.clientWidth, height: stage.clientHeight });
  const smallest = () => Math.min(size().width / width, size().height / height, LARGEST / 4);
  const limits = () => {
    const { low, high } = settings.views[view];
    const share = 10 ** (-byId("contrast").value / 20);
    const middle = (low + high) / 2;
    const half = ((high - low) / 2) * share;
    return [middle - half, middle + half];
  };

  function schedule() {
    if (planned) return;
    planned = true;
    root.dataset.complete = false;
    requestAnimationFrame(() => { planned = false; draw(); });
  }

  function settle() {
    scale = Math.min(Math.max(scale, smallest()), LARGEST);
    const half = { x: size().width / scale / 2, y: size().height / scale / 2 };
    const keep = (value, length, room) => (2 * room >= length && !byKeys ? length / 2 : Math.min(Math.max(value, byKeys ? 0.5 : room), length - (byKeys ? 0.5 : room)));
    centre = { x: keep(centre.x, width, half.x), y: keep(centre.y, height, half.y) };
    schedule();
  }

  function draw() {
    const { width: across, height: down } = size();
    if (!across || !down) return;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(across * ratio) || canvas.height !== Math.round(down * ratio)) {
      canvas.width = Math.round(across * ratio);
      canvas.height = Math.round(down * ratio);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const zoom = scale * ratio;
    const left = canvas.width / 2 - centre.x * zoom;
    const top = canvas.height / 2 - centre.y * zoom;
    context.save();
    context.beginPath();
    context.rect(left, top, width * zoom, height * zoom);
    context.clip();
    const shown = settings.views[view];
    const [low, high] = limits();
    const levels = images[shown.image].levels;
    let finest = levels.length - 1;
    while (finest > 0 && levels[finest].factor * scale > 2) finest--;
    let complete = true;
    for (let number = levels.length - 1; number >= finest; number--) {
      const { factor, shape } = levels[number];
      const side = TILE * factor * zoom;
      const first = { x: Math.max(0, Math.floor(-left / side)), y: Math.max(0, Math.floor(-top / side)) };
      const last = {
        x: Math.min(Math.ceil(shape[1] / TILE), Math.ceil((canvas.width - left) / side)),
        y: Math.min(Math.ceil(shape[0] / TILE), Math.ceil((canvas.height - top) / side)),
      };
      context.imageSmoothingEnabled = factor * zoom < 1;
      context.imageSmoothingQuality = "high";
      for (let row = first.y; row < last.y; row++) {
        for (let column = first.x; column < last.x; column++) {
          const tile = tileOf(shown.image, number, row, column);
          if (!tile.codes) { complete = complete && number !== finest; continue; }
          paint(tile, shown, low, high);
          const x = Math.round(left + column * side);
          const y = Math.round(top + row * side);
          const right = Math.round(left + column * side + tile.columns * factor * zoom);
          const bottom = Math.round(top + row * side + tile.rows * factor * zoom);
          context.drawImage(tile.canvas, x, y, right - x, bottom - y);
        }
      }
    }
    drawMarks(left, top, zoom, ratio);
    context.restore();
    drawScale(ratio);
    if (byKeys) drawCross(ratio);
    byId("low").textContent = number(low);
    byId("high").textContent = `${number(high)} ${settings.unit}`;
    if (complete) root.dataset.drawn ??= Math.round(performance.now());
    root.dataset.complete = complete;
  }

  // Marks

  const SHAPES = ["M-5-5H5V5H-5Z", "M0-6L6 5H-6Z", "M0-6L6 0L0 6L-6 0Z", "M0 6L6-5H-6Z", "M-5-5L5 5M5-5L-5 5", "M0-6V6M-6 0H6", "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0", "M-5-6V6H5V-6"];
  const shapes = SHAPES.map((path) => new Path2D(path));
  for (const [number, path] of document.querySelectorAll(".mark path").entries()) path.setAttribute("d", SHAPES[number % SHAPES.length]);
  const colours = [...document.querySelectorAll(".mark")].map((mark) => getComputedStyle(mark).color);

  function lowerBound(places, value) {
    let low = 0, high = places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  }

  function drawMarks(left, top, zoom, ratio) {
    const firstRow = Math.max(0, Math.floor(-top / zoom) - 1);
    const lastRow = Math.min(height, Math.ceil((canvas.height - top) / zoom) + 1);
    marks.forEach((mark, number) => {
      if (!mark.shown) return;
      const start = lowerBound(mark.places, firstRow * width);
      const stop = lowerBound(mark.places, lastRow * width);
      const many = stop - start > 4000;
      context.strokeStyle = context.fillStyle = colours[number];
      const side = Math.max(1, zoom / 13) * ratio;
      const grow = Math.max(ratio, (zoom + 4 * ratio) / 10);
      for (let i = start; i < stop; i++) {
        const x = left + ((mark.places[i] % width) + 0.5) * zoom;
        const y = top + (Math.floor(mark.places[i] / width) + 0.5) * zoom;
        if (x < -20 || x > canvas.width + 20) continue;
        if (many) { context.fillRect(x - ratio, y - ratio, 2 * ratio, 2 * ratio); continue; }
        context.setTransform(grow, 0, 0, grow, x, y);
        context.lineWidth = Math.min(1.6, side / grow + 0.8);
        context.stroke(shapes[number % shapes.length]);
      }
      context.setTransform(1, 0, 0, 1, 0, 0);
    });
  }

  function drawScale(ratio) {
    const wanted = size().width / 4 / scale;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const length = Math.max(1, [5, 2, 1].find((step) => step * power <= wanted) * power);
    const x = 12 * ratio, y = canvas.height - 14 * ratio, long = length * scale * ratio;
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    const text = `${length.toLocaleString("en")} ${length === 1 ? "pixel" : "pixels"}`;
    const wide = Math.max(long, context.measureText(text).width);
    context.fillStyle = "rgba(0, 0, 0, 0.72)";
    context.fillRect(x - 6 * ratio, y - 20 * ratio, wide + 12 * ratio, 28 * ratio);
    context.fillStyle = "#fff";
    context.fillRect(x, y, long, 3 * ratio);
    context.fillText(text, x, y - 5 * ratio);
  }

  function drawCross(ratio) {
    const x = canvas.width / 2, y = canvas.height / 2, inner = Math.max(4 * ratio, (scale * ratio) / 2 + 2 * ratio), outer = inner + 10 * ratio;
    for (const [style, wide] of [["#000", 4], ["#ffd000", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = wide * ratio;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * inner, y + dy * inner);
        context.lineTo(x + dx * outer, y + dy * outer);
      }
      context.stroke();
    }
  }

  // Values

  function number(value) {
    if (Number.isNaN(value)) return "no value";
    const digits = Math.abs(value) >= 1e6 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : Number(value.toPrecision(5)).toString();
    return digits.replace("-", "−");
  }

  function classesAt(x, y) {
    const place = y * width + x;
    return marks.filter(({ places }) => places[lowerBound(places, place)] === place).map((mark) => mark.name.replace("_", " "));
  }

  let asked = 0;
  async function tell(x, y, aloud) {
    const turn = ++asked;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const shown = settings.views[view];
    const image = images[shown.image];
    const tile = tileOf(shown.image, 0, Math.floor(y / TILE), Math.floor(x / TILE));
    for (let wait = 0; !tile.codes && wait < 200; wait++) await new Promise((done) => setTimeout(done, 10));
    if (turn !== asked || !tile.codes) return;
    const code = tile.codes[(y % TILE) * tile.columns + (x % TILE)];
    const difference = image.levels[0].values[code];
    const value = surroundingsAt(image, x, y) + difference;
    const size = Math.abs(code - codes.zero) > codes.linear ? Math.abs(difference) * (codes.growth - 1) / 2 : image.levels[0].step / 2;
    const classes = classesAt(x, y);
    const text = `x ${x}, y ${y}: ` + (Number.isNaN(difference) ? "no value" :
      `${number(value)} ± ${Number(size.toPrecision(2))} ${settings.unit} (${difference < 0 ? "−" : "+"}${number(Math.abs(difference))} against its surroundings)`) +
      (classes.length ? `; bad pixel: ${classes.join(", ")}` : "");
    byId("readout").textContent = text;
    if (aloud) byId("said").textContent = text;
  }

  // Moving

  function zoomAt(factor, place) {
    const at = place ?? { x: size().width / 2, y: size().height / 2 };
    const x = centre.x + (at.x - size().width / 2) / scale;
    const y = centre.y + (at.y - size().height / 2) / scale;
    const before = scale;
    scale = Math.min(Math.max(scale * factor, smallest()), LARGEST);
    centre = { x: x + (centre.x - x) * (before / scale), y: y + (centre.y - y) * (before / scale) };
    settle();
  }

  function whole() {
    byKeys = false;
    scale = smallest();
    centre = { x: width / 2, y: height / 2 };
    settle();
  }

  function show(x, y, closeness) {
    byKeys = true;
    scale = Math.max(scale, closeness);
    centre = { x: x + 0.5, y: y + 0.5 };
    settle();
    tell(x, y, true);
  }

  function single() {
    show(Math.floor(centre.x), Math.floor(centre.y), 16);
  }

  const cursor = () => ({ x: Math.min(Math.floor(centre.x), width - 1), y: Math.min(Math.floor(centre.y), height - 1) });

  function nextMark(step) {
    const { x, y } = cursor();
    const here = y * width + x;
    let found = null;
    for (const { places, shown } of marks) {
      if (!shown || !places.length) continue;
      const after = lowerBound(places, here + (step > 0 ? 1 : 0));
      const place = step > 0 ? places[after % places.length] : places[(after - 1 + places.length) % places.length];
      const distance = ((step > 0 ? place - here : here - place) + width * height) % (width * height) || width * height;
      if (!found || distance < found.distance) found = { place, distance };
    }
    if (found) show(found.place % width, Math.floor(found.place / width), 12);
  }

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) {
      const far = event.shiftKey ? size().width / 2 : 20;
      const step = Math.max(1, Math.round(far / scale));
      const { x, y } = cursor();
      show(Math.min(Math.max(x + move[0] * step, 0), width - 1), Math.min(Math.max(y + move[1] * step, 0), height - 1), 0);
    } else if (event.key === "+" || event.key === "=") zoomAt(1.5);
    else if (event.key === "-" || event.key === "_") zoomAt(1 / 1.5);
    else if (event.key === "0" || event.key === "Home") whole();
    else if (event.key === "n") nextMark(1);
    else if (event.key === "p") nextMark(-1);
    else return;
    event.preventDefault();
  });

  stage.addEventListener("wheel", (event) => {
    if (document.activeElement !== stage && !event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), placeOf(event));
  }, { passive: false });

  const placeOf = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left - stage.clientLeft, y: event.clientY - box.top - stage.clientTop };
  };
  const pixelAt = (place) => ({
    x: Math.floor(centre.x + (place.x - size().width / 2) / scale),
    y: Math.floor(centre.y + (place.y - size().height / 2) / scale),
  });

  const pointers = new Map();
  stage.addEventListener("pointerdown", (event) => {
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event));
    byKeys = false;
    const { x, y } = pixelAt(placeOf(event));
    tell(x, y, false);
  });
  stage.addEventListener("pointermove", (event) => {
    const place = placeOf(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      const { x, y } = pixelAt(place);
      tell(x, y, false);
      return;
    }
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    pointers.set(event.pointerId, place);
    centre = {
      x: centre.x - (place.x - before.x) / scale / pointers.size,
      y: centre.y - (place.y - before.y) / scale / pointers.size,
    };
    if (others.length) {
      const [other] = others;
      const distance = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
      zoomAt(distance(place) / distance(before), { x: (place.x + other.x) / 2, y: (place.y + other.y) / 2 });
    } else settle();
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => pointers.delete(event.pointerId));

  byId("closer").addEventListener("click", () => zoomAt(2));
  byId("farther").addEventListener("click", () => zoomAt(0.5));
  byId("whole").addEventListener("click", whole);
  byId("single").addEventListener("click", single);
  byId("next")?.addEventListener("click", () => nextMark(1));
  byId("previous")?.addEventListener("click", () => nextMark(-1));
  byId("contrast").addEventListener("input", schedule);
  byId("view").addEventListener("change", (event) => {
    view = Number(event.target.value);
    byId("contrast").value = 0;
    schedule();
    if (byKeys) tell(cursor().x, cursor().y, true);
  });
  for (const box of document.querySelectorAll("[data-mark]")) {
    box.addEventListener("change", () => { marks[box.dataset.mark].shown = box.checked; schedule(); });
  }
  for (const button of document.querySelectorAll("[data-x]")) {
    button.addEventListener("click", () => {
      show(Number(button.dataset.x), Number(button.dataset.y), 16);
      stage.focus({ preventScroll: true });
      stage.scrollIntoView({ block: "center" });
    });
  }
  // No empty space below wide sensors.
  function fit() {
    const wholeNow = scale <= smallest() * 1.001;
    const tallest = Math.min(innerHeight * (innerWidth < 640 ? 0.6 : 0.75), 760);
    stage.style.height = `${Math.round(Math.max(180, Math.min(tallest, (stage.clientWidth * height) / width)))}px`;
    if (wholeNow) whole(); else settle();
  }
  scale = 0;
  new ResizeObserver(fit).observe(stage);
  fit();
})();
