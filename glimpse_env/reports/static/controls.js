// How the reader steps through glimpses and images: keys, buttons, taps, swipes, and playing.

/** Step every 0.9 seconds until the last glimpse. */
function play() {
  if (state.timer) return pause();
  if (state.step + 1 === data.images[state.image].path.length) goTo(0);
  byId("play").textContent = "Pause";
  state.timer = setInterval(() => {
    goTo(state.step + 1);
    if (state.step + 1 >= data.images[state.image].path.length) pause();
  }, 900);
}

function pause() {
  clearInterval(state.timer);
  state.timer = 0;
  byId("play").textContent = "Play";
}

/** Left and right step, up and down change the image, Home and End go to the first and last glimpse. */
function key(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || byId("viewer").hidden || event.target.closest(".scroll")) return;
  const end = data.images[state.image].path.length - 1;
  const actions = { ArrowLeft: () => goTo(state.step - 1), ArrowRight: () => goTo(state.step + 1) };
  if (gallery.contains(event.target)) Object.assign(actions, { ArrowUp: () => move(-1), ArrowDown: () => move(1), Home: () => goTo(0), End: () => goTo(end) });
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  pause();
  action();
}

/** A swipe steps, a click goes to the next glimpse and from the last one back to the first. */
function touch() {
  let start = null;
  byId("stage").addEventListener("pointerdown", (event) => { start = event.button === 0 ? event.clientX : null; });
  byId("stage").addEventListener("pointerup", (event) => {
    if (start === null) return;
    const moved = event.clientX - start;
    start = null;
    pause();
    if (Math.abs(moved) > 30) goTo(state.step + (moved < 0 ? 1 : -1));
    else goTo((state.step + 1) % data.images[state.image].path.length);
  });
}

function start() {
  for (const place of document.querySelectorAll("[data-filter]")) for (const [value, [label]] of Object.entries(FILTERS[place.dataset.filter])) {
    const button = element("button", { type: "button", "data-value": value, title: MEANING[value] || "" }, label, element("small"));
    button.addEventListener("click", () => filter(place.dataset.filter, value));
    place.append(button);
  }
  byId("back").addEventListener("click", () => { pause(); goTo(state.step - 1); });
  byId("on").addEventListener("click", () => { pause(); goTo(state.step + 1); });
  byId("earlier").addEventListener("click", () => move(-1));
  byId("later").addEventListener("click", () => move(1));
  byId("play").addEventListener("click", play);
  byId("dim").addEventListener("change", show);
  document.addEventListener("keydown", key);
  touch();
  for (const hidden of gallery.querySelectorAll("[hidden]")) hidden.hidden = false;
  const first = [3, 2, 1].map((steps) => data.images.findIndex((image) => image.correct && image.path.length >= steps)); // one with a path
  state.image = first.find((place) => place >= 0) ?? 0;
  filter("prediction", "all");
}

start();
