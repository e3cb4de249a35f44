"use strict";
// Draws one glimpse of one image: the image with boxes and path, the crop itself, the classes and the stop probability.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

/** Return a new element with attributes and children; a string becomes text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Return a new SVG element. */
function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const coloursOf = (image) => data.ramps[image.path.length - 1];
const nameOf = (index) => data.names[index];
const percent = (share) => (share === null ? "NaN" : share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`);

/** Return the windows of a glimpse as [left, top, width, height] in pixels of the image, the widest first. */
function boxesOf(image, step) {
  const [width, height] = data.size;
  if (data.whole && step === 0) return [[((1 - data.crop) / 2) * width, ((1 - data.crop) / 2) * height, data.crop * width, data.crop * height]];
  const [x, y] = image.path[step];
  const [across, down] = [((x + 1) / 2) * width, ((y + 1) / 2) * height];
  const factor = image.factors ? image.factors[step] : 1; // by which zoom narrowed them
  return [...data.windows].sort((a, b) => b - a).map((window) => window * factor).map((side) => [across - side / 2, down - side / 2, side, side]);
}

/** Draw the image with the glimpses up to this step. */
function drawStage(image, step, dimmed) {
  const [width, height] = data.size;
  const colours = coloursOf(image);
  const longest = Math.max(width, height);
  const beyond = Math.min(Math.max(...data.windows) / 2, longest / 8) * 0.9;
  const sharp = longest <= 128 ? "sharp" : "";
  const svg = shape("svg", { viewBox: `${-beyond} ${-beyond} ${width + 2 * beyond} ${height + 2 * beyond}`, "aria-hidden": "true" });
  svg.append(shape("image", { href: image.src, width, height, class: sharp, preserveAspectRatio: "none" }));
  const paths = [...Array(step + 1).keys()];
  if (dimmed) {
    const mask = shape("mask", { id: "unseen" }, shape("rect", { width, height, fill: "#fff" }));
    const closer = data.whole && step > 0; // the first glimpse was the whole image or most of it, at a lower resolution
    for (const past of paths.slice(closer ? 1 : 0)) for (const [x, y, w, h] of boxesOf(image, past)) mask.append(shape("rect", { x, y, width: w, height: h, fill: "#000" }));
    svg.append(mask, shape("rect", { width, height, class: closer ? "veil thin" : "veil", mask: "url(#unseen)" }));
  }
  for (const past of paths) {
    const age = past === step ? "" : " past";
    for (const [x, y, w, h] of boxesOf(image, past)) {
      svg.append(shape("rect", { x, y, width: w, height: h, class: `under${age}` }));
      svg.append(shape("rect", { x, y, width: w, height: h, class: `box${age}`, stroke: colours[past], "data-step": past + 1 }));
    }
  }
  const centres = paths.map((past) => (data.whole && past === 0 ? null : image.path[past].map((at, axis) => ((at + 1) / 2) * data.size[axis])));
  for (const past of paths) if (past && centres[past] && centres[past - 1]) {
    const line = { x1: centres[past - 1][0], y1: centres[past - 1][1], x2: centres[past][0], y2: centres[past][1] };
    svg.append(shape("line", { ...line, class: "under past" }), shape("line", { ...line, class: "walk", stroke: colours[past] }));
  }
  const radius = longest * 0.03;
  for (const past of paths) {
    const [cx, cy] = centres[past] || [radius * 1.4, radius * 1.4];
    svg.append(shape("circle", { cx, cy, r: radius, fill: colours[past] }));
    svg.append(shape("text", { x: cx, y: cy, style: `font-size:${radius * 1.35}px` }, String(past + 1)));
  }
  byId("stage").replaceChildren(svg);
}

/** Draw the windows of one glimpse with as much detail as the agent gets. */
function drawCrops(image, picture, step) {
  const whole = data.whole && step === 0;
  const side = Math.min(data.detail[whole ? 0 : 1], 256);
  const canvases = boxesOf(image, step).reverse().map(([x, y, w, h]) => {
    const label = whole && data.crop === 1 ? "the whole image" : `${+w.toFixed(1)} × ${+h.toFixed(1)} pixels of the image`;
    const canvas = element("canvas", { width: side, height: side, role: "img", "aria-label": label, title: label });
    const pen = canvas.getContext("2d");
    pen.fillStyle = data.fill === "zero" ? "#000" : "#808080";
    pen.fillRect(0, 0, side, side);
    pen.imageSmoothingEnabled = w > side;
    pen.imageSmoothingQuality = "high";
    const [across, down] = [side / w, side / h];
    pen.drawImage(picture, -x * across, -y * down, data.size[0] * across, data.size[1] * down);
    return canvas;
  });
  const place = byId("crops");
  place.style.setProperty("--now", coloursOf(image)[step]);
  place.replaceChildren(...canvases);
  place.closest(".side").classList.toggle("many", canvases.length > 1);
}

/** Draw one bar a class; the elements stay, so that the bars move. */
function drawBars(image, step) {
  const list = byId("bars");
  if (list.dataset.image !== String(image.number)) {
    list.dataset.image = image.number;
    const longest = Math.max(...image.bars.map((index) => nameOf(index).length));
    list.style.setProperty("--wide", longest > 3 ? "42%" : "2.4em");
    list.replaceChildren(...image.bars.map((index) => {
      const name = element("span", { class: "name", title: nameOf(index) }, (index === image.label ? "✓ " : "") + nameOf(index));
      const row = element("li", index === image.label ? { class: "true" } : {}, name);
      row.append(element("span", { class: "track" }, element("i")), element("span", { class: "value" }));
      return row;
    }));
  }
  image.bars.forEach((index, place) => {
    const row = list.children[place];
    row.classList.toggle("top1", index === image.predictions[step]);
    row.querySelector("i").style.width = `${100 * image.probabilities[step][place]}%`;
    row.querySelector(".value").textContent = percent(image.probabilities[step][place]);
  });
}

/** Draw the stop head's probability. */
function drawStop(image, step) {
  const place = byId("stop");
  if (!data.dynamic) {
    place.replaceChildren(`This agent always takes ${data.steps} glimpse${data.steps > 1 ? "s" : ""}.`);
    return;
  }
  const share = image.stop[step];
  const last = step + 1 === image.path.length;
  const does = !last ? "it continues" : share >= 0.5 ? "it stops" : "no glimpse is left";
  if (!place.querySelector("i")) place.replaceChildren(element("span"), element("div", { class: "track" }, element("i")));
  place.querySelector("span").textContent = `Stop: ${percent(share)}, so ${does}`;
  if (last && share < 0.5) place.querySelector("span").textContent = `Stop: ${percent(share)}, but ${does}`;
  place.querySelector("i").style.width = `${100 * share}%`;
}

/** Return the prediction at this step in words and, at the last one, whether it is correct. */
function verdictOf(image, step) {
  const count = image.path.length;
  const prediction = nameOf(image.predictions[step]);
  if (step + 1 < count) return [`Glimpse ${step + 1} of ${count}: it would predict ${prediction}.`];
  const good = image.correct;
  const words = [`After ${count} of ${data.steps} glimpses it predicts ${prediction}: `, element("b", { class: good ? "good" : "bad" }, good ? "correct" : "incorrect")];
  words.push(good ? "." : `, it is ${nameOf(image.label)}.`);
  if (count < data.steps && !good) words.push(image.final === image.label ? ` After all ${data.steps} glimpses it would be correct.` : ` After all ${data.steps} glimpses it would predict ${nameOf(image.final)}.`);
  if (count < data.steps && good && image.final !== image.label) words.push(` After all ${data.steps} glimpses it would predict ${nameOf(image.final)}, which is incorrect.`);
  return words;
}
