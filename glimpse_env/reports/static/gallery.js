// Chooses what is shown: the state, the filters, and the thumbnails by the number of glimpses.

const gallery = byId("gallery");
const state = { prediction: "all", pace: "all", image: 0, step: 0, timer: 0 };
const FILTERS = {
  prediction: { all: ["All", () => true], correct: ["Correct", (image) => image.correct], incorrect: ["Incorrect", (image) => !image.correct] },
  pace: {
    all: ["Any time", () => true],
    early: ["Early", (image) => image.path.length < data.mean - 1e-6],
    late: ["Late", (image) => image.path.length > data.mean + 1e-6],
  },
};
const MEANING = { early: `after fewer glimpses than the mean of ${data.mean.toFixed(2)}`, late: `after more glimpses than the mean of ${data.mean.toFixed(2)}` };
const pictures = new Map(); // decoded images by their place
let thumbs = []; // [place in data.images, button] of the images that pass the filters

const passes = (image, prediction, pace) => FILTERS.prediction[prediction][1](image) && FILTERS.pace[pace][1](image);

/** Return the decoded image. */
async function decoded(place) {
  if (!pictures.has(place)) {
    const picture = new Image();
    picture.src = data.images[place].src;
    pictures.set(place, picture.decode().then(() => picture));
  }
  return pictures.get(place);
}

/** Draw the state. */
async function show() {
  const image = data.images[state.image];
  const { image: place, step } = state;
  byId("what").textContent = nameOf(image.label);
  byId("where").textContent = `glimpse ${step + 1} of ${image.path.length}`;
  drawStage(image, step, byId("dim").checked);
  drawBars(image, step);
  drawStop(image, step);
  drawChips(image);
  byId("verdict").replaceChildren(...verdictOf(image, step));
  byId("back").disabled = step === 0;
  byId("on").disabled = step + 1 === image.path.length;
  const position = thumbs.findIndex(([other]) => other === place);
  byId("earlier").disabled = position <= 0;
  byId("later").disabled = position + 1 >= thumbs.length;
  for (const [other, button] of thumbs) {
    button.setAttribute("aria-current", String(other === place));
    button.tabIndex = other === place ? 0 : -1;
    if (other === place) reveal(button);
  }
  const picture = await decoded(place);
  if (state.image === place && state.step === step) drawCrops(image, picture, step);
}

/** Scroll a thumbnail into its list, without moving the page. */
function reveal(button) {
  for (const box of [byId("thumbs"), button.parentElement]) {
    const [inner, outer] = [button.getBoundingClientRect(), box.getBoundingClientRect()];
    if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - outer.height / 2;
    if (inner.left < outer.left || inner.right > outer.right) box.scrollLeft += inner.left - outer.left - outer.width / 2;
  }
}

/** Draw the glimpses as buttons, those that were not needed as empty places. */
function drawChips(image) {
  const taken = image.path.map((_, step) => {
    const chip = element("button", { type: "button", "aria-label": `Glimpse ${step + 1}`, style: `--hue:${coloursOf(image)[step]}` }, String(step + 1));
    if (step === state.step) chip.setAttribute("aria-current", "step");
    chip.addEventListener("click", () => goTo(step));
    return chip;
  });
  const focused = byId("chips").contains(document.activeElement);
  const saved = [...Array(data.steps - taken.length).keys()].map((extra) => element("span", { title: "not needed" }, String(taken.length + extra + 1)));
  byId("chips").replaceChildren(...taken, ...saved);
  if (focused) taken[state.step].focus();
}

/** Show a step of the current image, if there is one. */
function goTo(step) {
  if (step < 0 || step >= data.images[state.image].path.length) return;
  state.step = step;
  show();
}

/** Show another image from its first glimpse. */
function choose(place) {
  pause();
  Object.assign(state, { image: place, step: 0 });
  show();
}

/** Show the image so many places further among those that pass the filters. */
function move(by) {
  const position = thumbs.findIndex(([place]) => place === state.image) + by;
  if (position < 0 || position >= thumbs.length) return;
  const [place, button] = thumbs[position];
  choose(place);
  if (byId("thumbs").contains(document.activeElement)) button.focus();
}

/** Draw the filters with how many images each would leave. */
function drawFilters() {
  for (const place of document.querySelectorAll("[data-filter]")) {
    const kind = place.dataset.filter;
    for (const button of place.children) {
      const given = { prediction: state.prediction, pace: state.pace, [kind]: button.dataset.value };
      const left = data.images.filter((image) => passes(image, given.prediction, given.pace)).length;
      button.querySelector("small").textContent = left;
      button.setAttribute("aria-pressed", String(state[kind] === button.dataset.value));
    }
  }
}

/** Choose a filter and show what it leaves. */
function filter(kind, value) {
  state[kind] = value;
  drawFilters();
  drawThumbs();
  if (thumbs.length && !thumbs.some(([place]) => place === state.image)) choose(thumbs[0][0]);
  else show();
}

/** Draw the thumbnails that pass the filters, grouped by the number of glimpses. */
function drawThumbs() {
  const place = byId("thumbs");
  const kept = data.images.map((image, at) => [image, at]).filter(([image]) => passes(image, state.prediction, state.pace));
  thumbs = [];
  place.replaceChildren();
  for (const group of data.groups) {
    const members = kept.filter(([image]) => image.path.length === group.step);
    if (!members.length) continue;
    const share = (100 * group.correct) / group.images;
    const summary = `${group.images.toLocaleString("en")} image${group.images > 1 ? "s" : ""}, ${share.toFixed(1)} % correct`;
    place.append(element("h3", {}, element("b", {}, `${group.step} glimpse${group.step > 1 ? "s" : ""}`), ` · ${summary}`));
    place.append(element("div", { class: "row" }, ...members.map(([image, at]) => thumb(image, at))));
  }
  const words = [state.prediction, state.pace].filter((word) => word !== "all");
  const when = MEANING[state.pace] ? ` (${state.pace}: ${MEANING[state.pace]})` : "";
  byId("count").textContent = `${kept.length} of ${data.images.length} shown${when}`;
  byId("viewer").hidden = !kept.length;
  if (kept.length) return;
  const reset = element("button", { type: "button", class: "wide" }, "Show all");
  reset.addEventListener("click", () => { state.pace = "all"; filter("prediction", "all"); byId("viewer").focus(); });
  place.append(element("div", { class: "empty" }, `No image of the gallery is ${words.join(" and ")}.`, reset));
}

/** Return the button of one image. */
function thumb(image, at) {
  const label = `${nameOf(image.label)}, ${image.correct ? "correct" : `predicted as ${nameOf(image.predictions.at(-1))}`}, ${image.path.length} glimpses`;
  const picture = element("img", { src: image.src, alt: "", class: Math.max(...data.size) <= 128 ? "sharp" : "" });
  const button = element("button", { type: "button", class: `thumb${image.correct ? "" : " off"}`, "aria-label": label, title: label }, picture);
  button.addEventListener("click", () => {
    choose(at);
    byId("viewer").scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  });
  thumbs.push([at, button]);
  return button;
}
